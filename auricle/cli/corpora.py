"""Verbs over corpora: pack a corpus, evaluate a model on a pack."""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.options import (
    Address,
    EngineName,
    EngineOption,
    Quiet,
    Split,
    Subset,
    Threads,
    Where,
    Window,
    check_address,
)
from auricle.cli.output import assignments, print_error, print_table, print_warning, refuse_file
from auricle.remote import address_of
from auricle.text import counted

FIGURES = ("map", "auc", "d_prime", "d_prime_mean", "accuracy", "micro_ap", "micro_auc", "ece", "ece_top")


class ReportFormat(StrEnum):
    """How figures are written."""

    table = "table"
    json = "json"


class Pooling(StrEnum):
    """How windows' scores become a clip's: `auricle.runners.windows.POOLINGS`."""

    mean = "mean"
    max = "max"
    attention = "attention"


class Protocol(StrEnum):
    """Other rules than this package's own."""

    urban = "urban"


class Level(StrEnum):
    """Of a two-level taxonomy."""

    fine = "fine"
    coarse = "coarse"


def pack(
    source: Annotated[
        str,
        typer.Argument(
            help="A CSV or Parquet manifest, a folder with one folder a class, ESC-50's meta.csv, a list (or "
            "a folder of lists) of AudioSet, or annotations like SONYC-UST's. The first three may "
            "be addresses (s3://...)."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="The pack's folder, or its address; one begun earlier is gone on with.")
    ],
    rate: Annotated[int, typer.Option(min=1000, metavar="HZ", help="Sample rate of the pack.")] = 16000,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; as many as cores at first.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything back and compare checksums.")
    ] = False,
    label_set: Annotated[str, typer.Option(metavar="NAME", help="Name of the label set.")] = "labels",
    media: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="AudioSet, annotations: where the recordings are."),
    ] = None,
    engine: EngineOption = EngineName.local,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Decode a corpus once into a pack, to be read at random.

    Killed at any moment, the same command goes on where it was. A file that cannot be read is listed in
    failures.parquet and named at the end, and the exit status is 1.
    """
    check_address(engine, address)
    from auricle.engine import pack as pack_corpus
    from auricle.progress import format_seconds

    shown = address_of(out) or out
    report = pack_corpus(
        source,
        out,
        rate=rate,
        jobs=jobs,
        engine=engine.value,
        address=address,
        verify=verify,
        label_set=label_set,
        media=media,
    )
    done = (
        "was packed before" if report["finished_before"] else f"packed in {format_seconds(report['elapsed'])}"
    )
    print(
        f"{shown}: {counted(report['clips'], 'clip')}, {format_seconds(report['seconds'])} of sound, {done}"
    )
    for problem in report.get("problems") or []:
        print_error(f"{shown}: {problem}")
    if report["failures"]:
        print_error(
            f"{counted(report['failures'], 'clip')} could not be read: {shown}/failures.parquet has the names"
        )
    if report["failures"] or report.get("problems"):
        raise typer.Exit(1)
    if verify:
        print(f"{shown}: every checksum is as written")


def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A bundled model's name, an artifact's folder, an .onnx file.", show_default=False
        ),
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Argument(help="A pack; recordings with --events --annotations.", show_default=False),
    ] = None,
    split: Split = None,
    where: Where = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write scores.parquet, metrics.json, per_class.csv, reliability.png here."
        ),
    ] = None,
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
    label_set: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The label set to compare with.",
            show_default="labels; verified with --protocol urban",
        ),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Which labels of the model stand for which of the pack: audioset-esc50, or a CSV file.",
            show_default="equal names",
        ),
    ] = None,
    subset: Subset = None,
    pooling: Annotated[
        Pooling | None,
        typer.Option(
            help="How the scores of a clip's windows become the clip's.", show_default="the model's own way"
        ),
    ] = None,
    window: Window = None,
    class_share: Annotated[
        float,
        typer.Option(metavar="X", help="Figures over a random share of the classes, say 0.2."),
    ] = 1.0,
    half: Annotated[
        bool, typer.Option("--half", help="Keep clip scores as float16 logits: half the room.")
    ] = False,
    draws: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Bootstrap draws for the intervals; 0 leaves them out."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draws and of the share of classes.")] = 0,
    threads: Threads = None,
    events: Annotated[
        bool, typer.Option("--events", help="When what sounds: F1 of segments and of events, PSDS.")
    ] = False,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="events: a setting, say onset=0.4 or hop=0.5; may be given again."
        ),
    ] = None,
    collar: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="S",
            help="events: seconds that one may begin or end early or late.",
            show_default="0.2",
        ),
    ] = None,
    segment: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="S", help="events: length of a segment.", show_default="1"),
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option(
            help="Rules of urban sound tagging: AUPRC and F1 of fine and coarse tags, of MODEL on PACK or of "
            "--predictions.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="urban: scores to judge, in place of MODEL and PACK; events: events that were found.",
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="urban: the annotators' votes; 0 is the truth. events: what is truly heard and when, as "
            "CSV, label tracks, selection tables, JAMS, JSON Lines, or a folder of these.",
        ),
    ] = None,
    taxonomy: Annotated[
        Path | None, typer.Option(metavar="YAML", help="urban: the coarse and fine classes.")
    ] = None,
    level: Annotated[
        Level | None, typer.Option(help="urban: one level only.", show_default="those that are scored")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score a model on a pack's clips: mAP, AUC, accuracy.

    Also d', calibration error, and the intervals of them all.
    What is left out is counted and named: labels that only model or pack have, clips without a shared label,
    classes for which a figure is not defined (no positives in the split). A warning says where clips are
    among those that the model was trained on.
    """
    from auricle.cli.urban import evaluate_urban, options_given, refuse_options

    if protocol is Protocol.urban:
        evaluate_urban(context)
        return
    of_events = ("set", "collar", "segment")
    if not events:
        refuse_options(options_given(context), of_events, "goes with --events")
    refuse_options(options_given(context), ("taxonomy", "level"), "goes with --protocol urban")
    if not events:
        both = "goes with --events or --protocol urban"
        refuse_options(options_given(context), ("predictions", "annotations"), both)
    else:
        from auricle.cli.events import evaluate_events

        return evaluate_events(context)
    from auricle.evaluation import evaluate as evaluate_model

    model, pack = require_model(model, pack, "MODEL and PACK")
    if not 0 < class_share <= 1:
        raise typer.BadParameter(
            f"{class_share:g}; expected more than 0 and at most 1", param_hint="--class-share"
        )
    refuse_file(out)
    chosen = {key: tuple(value.split(",")) for key, value in assignments(where or [], "--where").items()}
    figures = evaluate_model(
        model,
        pack,
        splits=tuple(split) if split else None,
        where=chosen or None,
        subset=subset,
        out=out,
        label_set=label_set or "labels",
        label_map=label_map,
        pooling=pooling and pooling.value,
        window=window,
        class_share=class_share,
        half=half,
        threads=threads,
        draws=draws,
        seed=seed,
    )
    warn_of_training(model, figures)
    if out is not None and address_of(out) is None:
        from auricle.report.folders import heading_of
        from auricle.report.reliability import draw_reliability
        from auricle.report.style import save

        save(draw_reliability(figures, title=heading_of(figures)), out / "reliability.png")
    if format is ReportFormat.json:
        print(json.dumps(figures, indent=2, default=float))
    else:
        _print_figures(figures)


def require_model(model: str | None, pack: Path | None, what: str) -> tuple[str, Path]:
    """Model and pack, of which one may have been left out.

    Raises:
        typer.BadParameter: one was.

    >>> require_model("default", Path("out/pack"), "MODEL and PACK")[0]
    'default'
    """
    if model is None or pack is None:
        raise typer.BadParameter(f"missing; give {what}", param_hint="MODEL" if model is None else "PACK")
    return model, pack


def warn_of_training(model: str, figures: dict[str, Any]) -> None:
    """Say where the figures may flatter."""
    from auricle.evaluation.heard import untold_in_words

    if trained := figures["clips_in_training"]:
        which = (
            "these clips"
            if trained == figures["clips"]
            else f"{trained:,} of these {counted(figures['clips'], 'clip')}"
        )
        print_warning(
            f"{model} was trained on {which}, or on some of them: the figures do not say how good it is on "
            "others; choose a --split that it was not trained on"
        )
    if untold := untold_in_words(figures.get("training_not_told", ())):
        print_warning(untold)
    for key, what in (
        ("clips_in_calibration", "was calibrated with"),
        ("clips_in_settings", "has event settings that were chosen on"),
    ):
        if fitted := figures.get(key, 0):
            some = "" if fitted == figures["clips"] else f"{fitted:,} of "
            which = f"{some}these {counted(figures['clips'], 'clip')}"
            print_warning(
                f"{model} {what} {which}, or some of them: the figures are better than on others; choose a "
                "--split that was not used for it, or other recordings"
            )


def _print_figures(figures: dict[str, Any]) -> None:
    """The figures with their intervals, then what they were counted on; --format json has the rest."""
    intervals = figures.get("intervals", {})
    level = f"{100 * figures['interval_level']:g}% interval" if intervals else "interval"
    rows = []
    for name in FIGURES:
        low, high = intervals.get(name, (None, None))
        interval = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        rows.append([name, _figure(figures, name), interval])
    print_table(sys.stdout, ["figure", "value>", level], rows, title=figures["mixed_from"] or "")
    # A group of scenes is a pool of recordings.
    groups = counted(figures["groups"], "group" if figures["mixed_from"] else "recording")
    classes = counted(figures["classes"], "class")
    print(f"{counted(figures['clips'], 'clip')} of {groups}, {classes}")
    if mapped := figures["label_map"]:
        used = len({source for sources in mapped["sources"].values() for source in sources})
        made = counted(len(mapped["sources"]), "label")
        print(f"{made} made of {used} of the model's by the map {mapped['name']}")
        if lacking := mapped["sources_not_in_model"]:
            print(f"sources of the map that the model lacks: {len(lacking)}: {_few(lacking)}")
    if figures["class_share"] < 1:
        share = f"a random {100 * figures['class_share']:g}% of the classes"
        print(f"the figures are over {share}, by seed {figures['seed']}")
    unknown = [name for name in FIGURES if None in intervals.get(name, ())]
    if same := [name for name in unknown if figures.get(name) is not None]:
        print(f"no interval of {', '.join(same)}: draws of {groups} all give the same figure")
    if why := figures.get("intervals_left_out"):
        print(f"no intervals: {why}; --draws N draws N times all the same")
    for name, what in (("ap", "mAP"), ("auc", "AUC")):
        if out := figures[f"classes_without_{name}"]:
            left = f"{what} is not defined for {len(out)} of {classes}: left out of its mean"
            print(f"{left}: {_few(out)}")
    if out := figures["labels_not_in_model"]:
        print(f"labels of the pack that the model lacks, left out: {len(out)}: {_few(out)}")
    if out := figures["labels_not_in_pack"]:
        print(f"labels of the model that the pack lacks, left out: {len(out)}: {_few(out)}")
    if passed := figures.get("at_thresholds"):
        values = ", ".join(
            f"{name} {'not defined' if passed[name] is None else format(passed[name], '.4f')}"
            for name in ("precision", "recall", "f1")
        )
        print(f"at the model's thresholds: {counted(round(passed['shown']), 'label')} shown, {values}")
    if without := figures["excluded_accuracy"]:
        print(f"clips without any of {counted(figures['classes'], 'label')}, left out of accuracy: {without}")


def _figure(figures: dict[str, Any], name: str) -> str:
    """A figure as text; JSON has null for what is not defined and for d' of a perfect ranking alike."""
    if figures[name] is not None:
        return f"{figures[name]:.4f}"
    perfect = {"d_prime": figures["auc"] == 1, "d_prime_mean": figures["infinite_d_prime"] > 0}
    return "infinite" if perfect.get(name) else "not defined"


def _few(names: Sequence[str], most: int = 5) -> str:
    """Some of the names; how many there are stands before them.

    >>> _few(["a", "b", "c"], most=2)
    'a, b, ...'
    """
    return ", ".join([*names[:most], *["..."] * (len(names) > most)])
