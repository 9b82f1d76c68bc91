"""A verb that makes scores mean something: calibrate."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.corpora import ReportFormat
from auricle.cli.options import Quiet, Split, Subset, Threads, Where
from auricle.cli.output import assignments, print_table, print_warning
from auricle.text import counted
from auricle.thresholds import threshold_text

FIGURES = {
    "ece": "ECE, all labels",
    "ece_classwise": "ECE, mean of the labels'",
    "ece_top": "ECE of the best label",
    "brier": "Brier score",
    "log_loss": "log loss",
}
WATCHED = ("ece", "brier", "log_loss")  # of which it is said where a calibration makes them worse
SLACK = 1.01  # times as large is not yet worse
OTHERS = {"affine": " or --method temperature", "isotonic": " or --method affine or temperature"}
UNITS = {"precision": "precision", "recall": "recall", "false_alarms": "false alarms/h"}


def calibrate(
    model: Annotated[
        str, typer.Argument(help="A bundled model's name, an artifact's folder, an .onnx file.")
    ],
    data: Annotated[str, typer.Argument(help="A pack of clips that the model was not trained on.")],
    out: Annotated[Path, typer.Option(metavar="NEW", help="Folder of the new model; MODEL stays as it is.")],
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="affine, temperature, isotonic; keep: scores as they are, for thresholds alone.",
        ),
    ] = "affine",
    precision: Annotated[
        float | None,
        typer.Option(metavar="P", help="Thresholds: of the clips shown, this share is right, say 0.9."),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(metavar="R", help="Thresholds: of the clips with the label, this share is shown."),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(metavar="N", help="Thresholds: so many windows an hour are shown wrongly, a label."),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="With --false-alarms: recordings have a window every S seconds; else the model's.",
        ),
    ] = None,
    split: Split = None,
    where: Where = None,
    subset: Subset = None,
    label_set: Annotated[str, typer.Option(metavar="NAME", help="The label set to compare with.")] = "labels",
    min_positives: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With fewer, a label takes what fits all labels together; 5 at first, 30 for isotonic, "
            "10 for thresholds.",
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Bootstrap draws for the thresholds' intervals; 0: none."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the draws, and of parts of the data.")] = 0,
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Write a new model whose scores are probabilities.

    With thresholds, where they are asked for.
    Clips that the model was trained on are left out, as far as it says which they are. Prints how far scores
    were from probabilities before, and how far they are after, on recordings that the calibration was not
    fitted to; and for each threshold what it does, with 95% intervals over recordings. Every verb obeys what
    is stored in the model; docs/calibration.md has more.
    """
    from auricle.calibration import KEEP, METHODS, Goal
    from auricle.calibration import calibrate as calibrate_model

    if method not in (*METHODS, KEEP):
        known = ", ".join((*METHODS, KEEP))
        raise typer.BadParameter(f"{method!r}; expected one of {known}", param_hint="--method")
    asked = {"precision": precision, "recall": recall, "false_alarms": false_alarms}
    goals = {kind: value for kind, value in asked.items() if value is not None}
    if len(goals) > 1:
        hint = " and ".join(f"--{kind.replace('_', '-')}" for kind in goals)
        raise typer.BadParameter("a threshold can do only one of these; choose", param_hint=hint)
    if method == KEEP and not goals:
        raise typer.BadParameter(
            "keep changes no score; add --precision, --recall or --false-alarms", param_hint="--method"
        )
    if hop is not None and (false_alarms is None or not 0 < hop < float("inf")):
        expected = "expected seconds above 0" if false_alarms is not None else "goes with --false-alarms"
        raise typer.BadParameter(f"{hop:g}: {expected}", param_hint="--hop")
    try:
        goal = next((Goal(kind=kind, value=value) for kind, value in goals.items()), None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{next(iter(goals)).replace('_', '-')}") from error
    chosen = {key: tuple(value.split(",")) for key, value in assignments(where or [], "--where").items()}
    made = calibrate_model(
        model,
        data,
        out,
        method=method,
        goal=goal,
        splits=tuple(split) if split else None,
        where=chosen or None,
        subset=subset,
        label_set=label_set,
        fewest=min_positives,
        hop=hop,
        draws=draws,
        seed=seed,
        threads=threads,
        quiet=quiet,
    )
    about = made.metrics["calibration"]
    if format is ReportFormat.json:
        print(json.dumps(about, indent=2, ensure_ascii=False))
    else:
        _print_about(about)
        print(out)
    _warn(about)
    if made.events is not None and method != KEEP:
        print_warning(
            "the model's event settings are for its scores as they were; choose them anew with auricle events"
        )


def _print_about(about: dict[str, Any]) -> None:
    recordings = counted(about["recordings"], "recording")
    print(f"{counted(about['clips'], 'clip')} of {recordings}, {about['hours']:.2f} hours")
    if "before" in about:
        rows = [
            [name, f"{about['before'][key]:.4f}", f"{about['after'][key]:.4f}"]
            for key, name in FIGURES.items()
        ]
        print_table(sys.stdout, ["figure", "before>", "after>"], rows)
        if fitted := about.get("before_fitted_to"):
            print(
                "before: by the calibration that the model had, which was fitted to "
                f"{_of_all(fitted, about)}, so too good to be compared with after"
            )
    if "goal" in about:
        kind, value = next(iter(about["goal"].items()))
        rows = [_row(label, found, kind) for label, found in about["thresholds"].items()]
        unit = UNITS[kind]
        heads = ["label", "threshold>", "interval>", f"{unit}>", "interval>", "on others>", "positives>"]
        title = f"thresholds for {unit} {value:g}"
        if "goal_hop" in about:
            heads.insert(-1, "in runs>")
            title += f", a window every {about['goal_hop']:.3g} s"
        print_table(sys.stdout, heads, rows, title=title)


def _row(label: str, found: dict[str, Any], kind: str) -> list[str]:
    digits = 1 if kind == "false_alarms" else 2
    threshold = threshold_text(found["threshold"]) + " (of all)" * found["pooled"]
    return [
        label,
        threshold,
        " to ".join(map(threshold_text, found.get("interval") or ())) or "-",
        "-" if found.get("measured") is None else f"{found['measured']:.{digits}f}",
        _interval(found.get("measured_interval"), digits),
        "-" if found.get("left_out") is None else f"{found['left_out']:.{digits}f}",
        *(["-" if found.get("runs") is None else f"{found['runs']:.1f}"] if kind == "false_alarms" else []),
        str(found["positives"]),
    ]


def _interval(ends: list[float] | None, digits: int) -> str:
    return "-" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _warn(about: dict[str, Any]) -> None:
    """What did not go as asked, on standard error."""
    from auricle.evaluation.heard import untold_in_words

    if heard := about["left_out_as_trained_on"]:
        print_warning(
            f"left out: {counted(heard, 'clip')} that the model was trained on, or was on a part of"
        )
    if untold := untold_in_words(about["training_not_told"]):
        print_warning(untold)
    absent = about["labels_not_in_pack"]
    without = about.get("labels_without_examples", [])
    hidden = (
        [*absent, *([] if "false_alarms" in about.get("goal", {}) else without)] if "goal" in about else []
    )
    if "before" in about and (kept := [*absent, *without]):
        print_warning(f"{_some(kept)}: no example in the pack; the network's own scores stay, uncalibrated")
    if hidden:
        print_warning(f"{_some(hidden)}: no example in the pack, so no threshold; they will not be shown")
    if pooled := about.get("labels_pooled"):
        print_warning(
            f"{_some(pooled)}: fewer than {about['fewest']} positives or negatives; the map of all labels "
            "together is theirs"
        )
    if about.get("thresholds_left_out"):
        print_warning(
            "the model's thresholds were for its scores as they were, and the new model has none; ask for "
            "new ones with --precision, --recall or --false-alarms"
        )
    if rises := _worse(about):
        print_warning(
            f"worse than before on recordings that the calibration was not fitted to: {rises}; take more "
            f"recordings{OTHERS.get(about['method'], '')}, or keep the model as it was (--method keep, where "
            "thresholds are wanted)"
        )
    found = about.get("thresholds", {})
    if lent := [label for label, row in found.items() if row["pooled"]]:
        print_warning(f"{_some(lent)}: too few examples; the threshold of all labels together is theirs")
    if missed := _missed(about):
        goal, value = next(iter(about["goal"].items()))
        print_warning(f"{_some(missed)}: with that threshold {goal} is less than {value:g}, on these clips")
    if never := [label for label, row in found.items() if row["threshold"] > 1 and label not in hidden]:
        why = "no threshold is as precise as that"
        if "false_alarms" in about["goal"]:
            why = "scores of 1 alone are more false alarms than that"
        elif "recall" in about["goal"]:
            why = "no clip has the label"
        print_warning(f"{_some(never)}: {why}; they will not be shown")
    rate = about.get("goal", {}).get("false_alarms")
    if rate and (least := min(row["hours_without"] for row in found.values())) * rate < 1:
        print_warning(
            f"{least:.2f} hours without a label cannot tell {rate:g} false alarms an hour from none: these "
            "thresholds let through no window that was heard"
        )


def _of_all(some: int, about: dict[str, Any]) -> str:
    """How many of the clips, in words."""
    clips = counted(about["clips"], "clip")
    return f"these {clips}" if some == about["clips"] else f"{some:,} of these {clips}"


def _worse(about: dict[str, Any]) -> str:
    """The figures that a calibration made worse, in words; "" where there are none.

    Figures from before are not compared where the calibration of before was fitted to these clips.

    >>> _worse({"before": dict.fromkeys(WATCHED, 0.2), "after": dict.fromkeys(WATCHED, 0.2) | {"brier": 0.3}})
    'Brier score 0.3000, before 0.2000'
    """
    before, after = about.get("before", {}), about.get("after", {})
    if about.get("before_fitted_to"):
        return ""
    rises = [name for name in WATCHED if name in after and after[name] > SLACK * before[name]]
    return " and ".join(f"{FIGURES[name]} {after[name]:.4f}, before {before[name]:.4f}" for name in rises)


def _missed(about: dict[str, Any]) -> list[str]:
    """Labels that with the threshold of all labels do less than what is asked for, and how much they do.

    >>> clock = {"pooled": True, "measured": 1 / 3}
    >>> _missed({"goal": {"recall": 0.9}, "thresholds": {"clock": clock, "dog": clock | {"measured": 0.9}}})
    ['clock 0.33']
    """
    kind, value = next(iter(about.get("goal", {"none": 0}).items()))
    rows = [
        (row["measured"], label)
        for label, row in about.get("thresholds", {}).items()
        if row["pooled"] and row["measured"] is not None
    ]
    if kind == "false_alarms":  # a label takes another's threshold where there is no sound to measure on
        return []
    return [f"{label} {measured:.2f}" for measured, label in sorted(rows) if measured < value - 1e-9]


def _some(names: list[str], most: int = 5) -> str:
    """Some of the names, and how many there are."""
    listed = ", ".join([*names[:most], *["..."] * (len(names) > most)])
    return f"{len(names)} labels ({listed})" if len(names) > 1 else listed
