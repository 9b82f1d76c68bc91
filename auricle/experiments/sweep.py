"""A search over settings: many short trainings, the poor ones stopped early, the best written down.

Every trial is `train()` with a recipe and settings, in a run folder of its own; after each validation its
mAP goes to Optuna, which may stop it. Any number of processes may work on one sweep, and any may be killed.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auricle.experiments.provenance import commit, device_name
from auricle.experiments.runs import build_without_memory
from auricle.experiments.space import Space, examples, grid, parse_space
from auricle.experiments.trial_table import write_tables
from auricle.experiments.trials import PRUNERS, SAMPLERS, Taken, Trials, open_trials, take, waiting_lock
from auricle.recipes import configure
from auricle.shards import Pack
from auricle.training import Diverged, TrainConfig, train
from auricle.training.checkpoints import content_of
from auricle.training.data import choose_clips
from auricle.training.state import net_arguments

TRIALS = 20  # where no number is asked for; a grid has its own
# What all trials must share: what they are judged by, and what is no setting but luck or a machine's.
SHARED = (
    "data", "name", "licence", "label_set", "train_splits", "validation_splits", "validation_fraction",
    "validation_subset", "validation_clips", "validate_every", "where", "seed", "device", "threads",
    "compile", "checkpoint_every", "log_every",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What a sweep was asked for.

    Args:
        data: the pack.
        out: the sweep's folder.
        recipe: where each training starts.
        over: setting -> what it may be, as `parse_space` takes it.
        settings: of every training, as `auricle train --set`.
        trials: how many in all, with those of other processes; None: 20, or the whole grid.
        sampler: "tpe", "random" or "grid".
        pruner: "median" stops a trial that is below the median of the others at the same step; "none".
        prune_after: steps before which nothing is stopped; None: a quarter of them.
        seed: of the choice of values.
        storage: a database's URL, or `journal:FILE`; "" is an SQLite file in `out`.
        name: of the sweep in the storage.
        device: to train on.
        threads: of each training.

    >>> SweepOptions(data=Path("pack"), out=Path("out"), recipe="hershey", over={"batch": "64,128"}).sampler
    'tpe'
    """

    data: Path
    out: Path
    recipe: str
    over: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    trials: int | None = None
    sampler: str = "tpe"
    pruner: str = "median"
    prune_after: int | None = None
    seed: int = 0
    storage: str = ""
    name: str = "sweep"
    device: str = "auto"
    threads: int | None = None


def sweep(options: SweepOptions, *, quiet: bool = False) -> dict[str, Any]:
    """Work on a sweep until it has as many trials as were asked for; others may work on it as well.

    Killed at any moment, the same call goes on: a trial that was killed from its checkpoint, with the values
    that it had. With a seed, one process and a CPU the result is the same as without the kill.

    Args:
        options: OUT/trials/NUMBER holds each training, OUT/table.md and results.json tell of them all,
            OUT/best.json is the best configuration.
        quiet: print nothing.

    Returns:
        What results.json holds.

    Raises:
        ValueError: the options do not fit each other, the pack or the sweep that is there, or what training
            refuses. The trial it arose in is gone on with by the next call.

    >>> over = {"learning_rate": "log:1e-5:1e-2", "batch": "64,128"}
    >>> options = SweepOptions(data=Path("out/esc50"), out=Path("out/sweep"), recipe="hershey", over=over)
    >>> sweep(options)["best"]["settings"]  # doctest: +SKIP
    {'learning_rate': '0.0003412', 'batch': '64'}
    """
    options, space, most = checked(options)
    options.out.mkdir(parents=True, exist_ok=True)
    with open_trials(
        options.out,
        storage=options.storage,
        name=options.name,
        asked=described(options),
        space=space,
        sampler=options.sampler,
        pruner=options.pruner,
        prune_after=options.prune_after or 0,
        seed=options.seed,
    ) as trials:
        results = tabulate(trials, options, most)
        while (taken := take(trials, most)) is not None:
            with taken.lock:
                again = "gone on with: " if taken.again else ""
                chosen = ", ".join(f"{key}={value}" for key, value in taken.settings.items())
                _say(f"trial {taken.number} of {most}: {again}{chosen}", quiet)
                ended = run_trial(trials, taken, options, quiet=quiet)
            results = tabulate(trials, options, most)
            _say(f"trial {taken.number}: {ended}", quiet)
    return results


def checked(options: SweepOptions) -> tuple[SweepOptions, Space, int]:
    """The options with all that follows from them, the space, the number of trials; or a ValueError."""
    for name, value, known in (("sampler", options.sampler, SAMPLERS), ("pruner", options.pruner, PRUNERS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")
    if not options.over:
        raise ValueError(
            "nothing to vary: say over which settings to search, e.g. learning_rate=log:1e-5:1e-2"
        )
    space = parse_space(options.over)
    for key in space:
        if key.partition(".")[0] in SHARED:
            raise ValueError(f"over {key}: all trials share it, or they would not compare")
        if key in options.settings:
            raise ValueError(f"over {key}: is also set to {options.settings[key]}; leave one of the two out")
    most = options.trials
    if options.sampler == "grid":
        points = len(grid(space, options.seed))
        most = min(points, most or points)
    most = TRIALS if most is None else most
    if most < 1:
        raise ValueError(f"trials is {most}; expected at least 1")
    first = configured(options, examples(space)[0])  # shows how long trials are, also where that is searched
    options = dataclasses.replace(options, settings=with_intervals(options.settings, first))
    if options.prune_after is None:
        options = dataclasses.replace(options, prune_after=(first.steps or 0) // 4)
    pack = Pack(options.data)
    for settings in examples(space):
        config = configured(options, settings)
        embeddings = pack.embeddings(config.embeddings) if config.embeddings else None
        build_without_memory(
            config.model,
            num_classes=max(1, len(pack.label_names(config.label_set))),
            **net_arguments(config, embeddings),
        )
    if not len(choose_clips(pack, config)[1]):
        raise ValueError(
            f"{options.data}: no clip to validate on, so trials cannot be compared; set validation_splits, "
            "validation_subset or validation_fraction"
        )
    return options, space, most


def with_intervals(settings: Mapping[str, str], config: TrainConfig) -> dict[str, str]:
    """The settings, with ten validations in a run where the recipe has fewer: poor trials can be stopped."""
    settings = dict(settings)
    if config.steps is not None:
        for name, parts in (("validate_every", 10), ("checkpoint_every", 20)):
            settings.setdefault(name, str(max(1, min(getattr(config, name), config.steps // parts))))
    return settings


def configured(options: SweepOptions, settings: Mapping[str, str]) -> TrainConfig:
    """The configuration of a trial: the one that `auricle train` makes of the same words."""
    return configure(
        options.recipe,
        data=options.data,
        settings={**options.settings, **settings},
        device=options.device,
        threads=options.threads,
    )


def described(options: SweepOptions) -> dict[str, Any]:
    """What all trials of a sweep have in common; who takes part must have asked for the same."""
    content = content_of(Pack(options.data), configured(options, {}).label_set)
    settings = {key: text for key, text in options.settings.items() if key != "checkpoint_every"}
    same = {"recipe": options.recipe, "settings": settings, "over": dict(options.over), **content}
    names = ("sampler", "pruner", "prune_after", "seed")
    return same | {name: getattr(options, name) for name in names}


def run_trial(trials: Trials, taken: Taken, options: SweepOptions, *, quiet: bool = False) -> str:
    """Train a trial, or go on with it, and write its outcome into the storage. Returns how it ended."""
    import optuna
    import torch

    folder = options.out / "trials" / f"{taken.number:04d}"
    known = dict(trials.storage.get_trial(taken.trial._trial_id).intermediate_values)
    states = optuna.trial.TrialState
    facts = {"settings": taken.settings, "device": device_name(options.device), "commit": commit()}
    for name, fact in facts.items():
        taken.trial.set_user_attr(name, fact)

    def report(step: int, steps: int, figures: Mapping[str, float]) -> None:
        value = float(figures["map"])
        if not math.isfinite(value):
            raise ValueError(
                f"{options.data}: validation mAP is not defined: no validation clip has a label of "
                f"{config.label_set!r}; choose other clips to validate on"
            )
        if step not in known:  # a trial gone on with validates again where its checkpoint is older
            taken.trial.report(value, step)
            known[step] = value
        if step < steps and taken.trial.should_prune():
            raise optuna.TrialPruned

    state, ended = states.COMPLETE, "finished"
    try:
        config = configured(options, taken.settings)
    except ValueError as error:  # each value is right, but not with the others
        state, ended = states.FAIL, f"failed: {error}"
    else:
        try:
            train(config, folder, resume=True, quiet=quiet, on_validation=report)
        except optuna.TrialPruned:
            state, ended = states.PRUNED, "stopped early"
        except Diverged:
            state, ended = states.PRUNED, "diverged"
        except torch.OutOfMemoryError:
            state, ended = states.PRUNED, "out of memory"
            torch.cuda.empty_cache()
    found = outcome(folder)
    for name, value in ({"ended": ended} | found).items():
        taken.trial.set_user_attr(name, value)
    value = found["map"] if state == states.COMPLETE else None
    trials.study.tell(taken.trial, value, state=state)
    return ended + ("" if found["map"] is None else f", best validation mAP {found['map']:.4f}")


def outcome(folder: Path) -> dict[str, Any]:
    """What a run's log says: best validation mAP, its step, steps done, hours; None where it says nothing."""
    log = folder / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    entries = [json.loads(line) for line in lines]
    validated = [entry for entry in entries if entry.get("validation_map") is not None]
    best: dict[str, Any] = max(validated, key=lambda entry: entry["validation_map"], default={})
    return {
        "map": best.get("validation_map"),
        "best_step": best.get("step"),
        "steps": entries[-1]["step"] if entries else 0,
        "hours": round(entries[-1]["seconds"] / 3600, 5) if entries else 0.0,
    }


def tabulate(trials: Trials, options: SweepOptions, most: int) -> dict[str, Any]:
    """Write the tables anew, after every trial: a look is possible at any time."""
    pack = Pack(options.data)
    config = configured(options, {})
    judged = len(choose_clips(pack, config)[1])
    searched = ", ".join(f"{key} in {text}" for key, text in options.over.items())
    stopping = {
        "median": f"from step {options.prune_after} on, trials below the median of the others are stopped",
        "none": "",
    }
    heading = (pack.manifest.get("mixed_from") or {}).get("heading", "")
    sentences = [
        *([f"Mixed from real recordings: {heading}."] if heading else []),
        f"Data: {pack.manifest.get('source', '')}: {len(pack)} clips, pack {pack.fingerprint[:12]}; "
        f"validation mAP on {judged} clips, label set {config.label_set}.",
        f"Recipe {options.recipe}; set: "
        + ", ".join(f"{key}={value}" for key, value in options.settings.items())
        + ".",
        f"Searched: {searched}; sampler {options.sampler}, seed {options.seed}"
        + (f"; {stopping[options.pruner]}" if stopping[options.pruner] else "")
        + ".",
        "The best of many is chosen on the validation clips, so its mAP is too high: judge on others.",
    ]
    with waiting_lock(options.out / "locks" / "table"):
        found = trials.storage.get_all_trials(trials.study_id, deepcopy=False)
        return write_tables(
            found,
            options.out,
            over=list(options.over),
            most=most,
            recipe=options.recipe,
            settings=dict(options.settings),
            data=options.data,
            mixed=bool(heading),
            caption=sentences,
        )


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)
