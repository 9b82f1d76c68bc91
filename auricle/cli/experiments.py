"""Verbs over many trainings: compare, sweep."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.options import Quiet, Threads
from auricle.cli.output import assignments

LISTED = "separated by commas"
URBAN_EPOCHS, URBAN_BATCH = 30.0, 32
RANKED = (
    "architectures", "label-set", "training-size", "embeddings", "mix-training", "raw-waveform",
)  # fmt: skip
OF_EXPERIMENTS = {  # options that only some experiments have
    "labels": ("label-set",),
    "unlabelled": ("label-set",),
    "fractions": ("training-size", "mix-training"),
    "mix_ranges": ("mix-training",),
    "embeddings": ("embeddings", "raw-waveform", "urban"),
    "rows": ("urban",),
    "epochs": ("urban",),
    **dict.fromkeys(("models", "rates", "judge_training"), RANKED),
    **dict.fromkeys(("embedder", "embedder_steps", "embedder_labels", "heads"), ("embeddings",)),
    **dict.fromkeys(("finetune_steps", "mixtures"), ("mix-training", "raw-waveform")),
}


def compare(
    context: typer.Context,
    experiment: Annotated[
        str,
        typer.Argument(
            help="architectures, label-set, training-size, embeddings, mix-training, raw-waveform or urban; "
            "see docs/experiments.md."
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="PACK", help="The pack to train on and to judge by.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs and tables go here.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Time a few steps, print how long it would take, and stop.")
    ] = False,
    models: Annotated[
        str, typer.Option(metavar="A,B", help="Only these networks; the experiment's own at first.")
    ] = "",
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Mini-batches of each network.")] = 1000,
    finetune_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="mix-training, raw-waveform: mini-batches of step two; a fifth of --steps at first.",
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            metavar="X",
            help="urban: of each training's own clips, instead of --steps; 30 at first.",
        ),
    ] = None,
    rows: Annotated[
        str, typer.Option(metavar="A,B", help="urban: only these rows; all that the pack can serve at first.")
    ] = "",
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Patches of a mini-batch; 32 for urban.")
    ] = 128,
    width: Annotated[
        float, typer.Option(min=0.001, metavar="X", help="Times the channels and units of every network.")
    ] = 1.0,
    seeds: Annotated[str, typer.Option(metavar="0,1", help="Train each row once for each of these.")] = "0",
    learning_rate: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL=RATE", help="The rate of one network; may be given again."),
    ] = None,
    rates: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="Choose each network's rate among these, by mAP on --validation-splits."
        ),
    ] = "",
    rate_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Mini-batches of each trial of a rate.")
    ] = 200,
    train_splits: Annotated[
        str, typer.Option(metavar="A,B", help="Splits to train on; all that are left at first.")
    ] = "",
    validation_splits: Annotated[
        str, typer.Option(metavar="A,B", help="Splits to monitor on and to choose rates by.")
    ] = "",
    test_splits: Annotated[
        str, typer.Option(metavar="A,B", help='Splits to judge by; "test" at first.')
    ] = "",
    label_set: Annotated[str, typer.Option(metavar="NAME", help="The pack's label set.")] = "labels",
    labels: Annotated[
        str,
        typer.Option(
            metavar="50,25,esc10",
            help="label-set: how many labels, the most frequent; esc10; or names of label sets.",
        ),
    ] = "",
    unlabelled: Annotated[
        str, typer.Option(metavar="keep|drop", help="label-set: training clips without any of the labels.")
    ] = "keep",
    fractions: Annotated[
        str,
        typer.Option(
            metavar="1,.5",
            help="training-size, mix-training: parts of the recordings to train on; 1,.5,.2,.1,.05, or 1.",
        ),
    ] = "",
    mix_ranges: Annotated[
        str,
        typer.Option(
            metavar="0:1,.2:.8",
            help="mix-training: further ranges of its ratios, a row each beside that of .4:.6.",
        ),
    ] = "",
    mixtures: Annotated[
        Path | None,
        typer.Option(
            metavar="PACK",
            help="mix-training, raw-waveform: judge on these scenes, too, mixed from the test splits.",
        ),
    ] = None,
    judge_training: Annotated[
        bool,
        typer.Option("--judge-training", help="Judge each row on the clips that it was trained on, too."),
    ] = False,
    embeddings: Annotated[
        str,
        typer.Option(
            metavar="A,B=MODEL",
            help="embeddings, raw-waveform, urban: sets of the pack, and what made them; own, for "
            "embeddings: of a network trained here first.",
        ),
    ] = "",
    embedder: Annotated[
        str, typer.Option(metavar="MODEL", help="embeddings: the network that is trained here for own.")
    ] = "resnet50",
    embedder_steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="embeddings: its mini-batches; --steps at first.")
    ] = None,
    embedder_labels: Annotated[
        str,
        typer.Option(
            metavar="A,B|FILE", help="embeddings: classes of that network; every other one at first."
        ),
    ] = "",
    heads: Annotated[
        str, typer.Option(metavar="A,B", help="embeddings: networks that are trained on embeddings.")
    ] = "fully_connected,single_attention,multi_attention",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[MODEL:]KEY=VALUE",
            help="A setting of every training, or of one network's; may be given again.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=0, metavar="N", help="Bootstrap draws of the intervals.")] = 1000,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = "auto",
    threads: Threads = None,
    results: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Write the figures to a table like results.csv.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run a paper's experiment; tabulate it beside the paper's.

    Says first how long it will take. Stopped at any moment, the same command goes on. Prints the path of
    the table.
    """
    _refuse_of_others(context, experiment)
    if experiment == "urban":
        epochs, batch = _urban_lengths(context, epochs, batch)
    settings, model_settings = _by_model(assignments(set_ or [], "--set"))
    per_model = {
        name: _number(text, "--learning-rate")
        for name, text in assignments(learning_rate or [], "--learning-rate").items()
    }
    from auricle.experiments import Options, choose_rates, choose_splits
    from auricle.experiments import compare as compare_models
    from auricle.experiments.lines import write_results
    from auricle.experiments.table import load
    from auricle.shards import Pack

    splits = choose_splits(
        Pack(data), *(_names(text) for text in (train_splits, validation_splits, test_splits))
    )
    options = Options(
        data=data,
        out=out,
        train_splits=splits[0],
        validation_splits=splits[1],
        test_splits=splits[2],
        models=_names(models),
        rows=_names(rows),
        steps=steps,
        epochs=epochs,
        batch=batch,
        width=width,
        seeds=tuple(_numbers(seeds, "--seeds", int)),
        learning_rates=per_model,
        settings=settings,
        model_settings=model_settings,
        device=device,
        threads=threads,
        draws=draws,
        finetune_steps=finetune_steps,
        mixtures=mixtures,
        judge_training=judge_training,
        mix_ranges=tuple(_numbers(mix_ranges, "--mix-ranges", _range)),
        labels=_names(labels),
        label_set=label_set,
        unlabelled=unlabelled,
        fractions=tuple(_numbers(fractions, "--fractions", float)),
        embeddings=_names(embeddings),
        embedder=embedder,
        embedder_steps=embedder_steps,
        embedder_labels=_names_or_file(embedder_labels),
        heads=_names(heads),
    )
    if rates:
        options = choose_rates(
            experiment, options, _numbers(rates, "--rates", float), steps=rate_steps, plan_only=plan
        )
    command = shlex.join(["auricle", *sys.argv[1:]])
    compare_models(experiment, options, plan_only=plan, command=command)
    if plan:
        return
    if results is not None:
        write_results(load(out), experiment, results, command)
    print(out / "table.md")


def sweep(
    data: Annotated[Path, typer.Option(metavar="PACK", help="The pack to train on and to validate on.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Trials, table and best.json go here.")],
    recipe: Annotated[str, typer.Option(metavar="NAME", help="Where each training starts.")] = "",
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A published sweep: hershey-fully-connected; --over and --set add."
        ),
    ] = "",
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="A setting to search: A,B,C or LOW:HIGH or log:LOW:HIGH; may be given again.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of every trial; may be given again."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Trials in all, with other processes' ones; 20, or the whole grid."
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(metavar="tpe|random|grid", help="How values are chosen; tpe, or the preset's.")
    ] = "",
    pruner: Annotated[
        str, typer.Option(metavar="median|none", help="Stop trials below the median of the others.")
    ] = "median",
    prune_after: Annotated[
        int | None,
        typer.Option(min=0, metavar="STEPS", help="Stop none before so many steps; a quarter at first."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the choice of values.")] = 0,
    storage: Annotated[
        str,
        typer.Option(
            metavar="URL|journal:FILE",
            help="What machines share: a database, or a file on a network disk; a file in --out at first.",
        ),
    ] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="The sweep's name in the storage.")] = "sweep",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Search for a training's best settings, by validation mAP.

    Prints the path of the table.
    Give the same command in several terminals, or on several machines with --storage, and they share the
    trials. Killed at any moment, the same command goes on. The best configuration is written to best.json,
    for auricle train --config.
    """
    varied, settings = assignments(over or [], "--over"), assignments(set_ or [], "--set")
    from auricle.experiments import SweepOptions
    from auricle.experiments import sweep as run_sweep
    from auricle.experiments.space import PRESETS

    if preset:
        if preset not in PRESETS:
            raise typer.BadParameter(f"{preset!r}; known: {', '.join(PRESETS)}", param_hint="--preset")
        known = PRESETS[preset]
        recipe, sampler = recipe or known.recipe, sampler or known.sampler
        varied, settings = {**known.over, **varied}, {**known.settings, **settings}
    if not recipe:
        raise typer.BadParameter("name a recipe, or a --preset", param_hint="--recipe")
    options = SweepOptions(
        data=data,
        out=out,
        recipe=recipe,
        over=varied,
        settings=settings,
        trials=trials,
        sampler=sampler or "tpe",
        pruner=pruner,
        prune_after=prune_after,
        seed=seed,
        storage=storage,
        name=name,
        device=device,
        threads=threads,
    )
    run_sweep(options)
    print(out / "table.md")


def _refuse_of_others(context: typer.Context, experiment: str) -> None:
    """No option that is for other experiments only."""
    for name, of in OF_EXPERIMENTS.items():
        if experiment not in of and _given(context, name):
            hint = f"--{name.replace('_', '-')}"
            text = f"is for {' and '.join(of)}, not for {experiment}; leave it out"
            raise typer.BadParameter(text, param_hint=hint)


def _urban_lengths(context: typer.Context, epochs: float | None, batch: int) -> tuple[float | None, int]:
    """Epochs and batch of the urban experiment, which has its own where none are given."""
    given = {name: _given(context, name) for name in ("steps", "epochs", "batch")}
    if given["steps"] and given["epochs"]:
        raise typer.BadParameter("give one of --epochs and --steps", param_hint="--epochs")
    return epochs or (None if given["steps"] else URBAN_EPOCHS), batch if given["batch"] else URBAN_BATCH


def _given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, rather than left at what it is at first."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _by_model(given: dict[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Settings of all networks, and those of one: MODEL:KEY."""
    of_all: dict[str, str] = {}
    of_one: dict[str, dict[str, str]] = {}
    for name, text in given.items():
        model, colon, key = name.partition(":")
        if not colon:
            of_all[name] = text
        elif model and key:
            of_one.setdefault(model, {})[key] = text
        else:
            raise typer.BadParameter(f"{name!r}: expected KEY or MODEL:KEY before the =", param_hint="--set")
    return of_all, of_one


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _names_or_file(text: str) -> tuple[str, ...]:
    """Names separated by commas, or one a line of a file."""
    if text and Path(text).is_file():
        from auricle.tables import read_text

        return tuple(line.strip() for line in read_text(Path(text)).splitlines() if line.strip())
    return _names(text)


def _numbers(text: str, option: str, kind: Callable[[str], Any]) -> Sequence[Any]:
    try:
        return [kind(part) for part in _names(text)]
    except ValueError as error:
        expected = "ranges LOW:HIGH" if kind is _range else "numbers"
        raise typer.BadParameter(f"{text!r}: expected {expected} {LISTED}", param_hint=option) from error


def _range(text: str) -> tuple[float, float]:
    """Two numbers, LOW:HIGH."""
    low, high = text.split(":")
    return float(low), float(high)


def _number(text: str, option: str) -> float:
    return float(_numbers(text, option, float)[0])
