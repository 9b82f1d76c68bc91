"""`auricle evaluate --protocol urban`: predictions or a model against a verified truth of two levels."""

import json
import sys
from collections.abc import Collection
from typing import Any

import typer

from auricle.cli.output import assignments, print_table, refuse_file
from auricle.text import counted

FIGURES = ("micro_auprc", "micro_f1", "macro_auprc")
LEVELS = ("fine", "coarse")
OF_FILES = ("predictions", "annotations", "taxonomy")
# What the protocol has no use for, and what predictions that are there already have none for.
NEVER = ("class_share", "half", "events", "set", "collar", "segment", "label_map", "window")
NOT_OF_FILES = ("where", "label_set", "subset", "pooling", "threads")


def options_given(context: typer.Context) -> set[str]:
    """Names of the parameters that stand on the command line."""
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }


def refuse_options(given: Collection[str], names: Collection[str], why: str) -> None:
    """Say of options that would have no effect that they have none.

    Raises:
        typer.BadParameter: one of them is given.

    >>> refuse_options({"split"}, ("half",), "is not of this protocol")
    """
    for name in names:
        if name in given:
            raise typer.BadParameter(f"{why}; leave it out", param_hint=f"--{name.replace('_', '-')}")


def evaluate_urban(context: typer.Context) -> None:
    """Judge what the command line of `evaluate` names, print and write it."""
    asked, given = context.params, options_given(context)
    refuse_options(given, NEVER, "has no effect with --protocol urban")
    refuse_file(asked["out"])
    if any(asked[name] is not None for name in OF_FILES):
        figures = _of_files(asked, given)
    else:
        figures = _of_model(asked)
    if asked["format"] == "json":
        print(json.dumps(flat(figures, asked["level"]), indent=2, ensure_ascii=False))
    else:
        _print(figures)


def flat(figures: dict[str, Any], level: str | None) -> dict[str, Any]:
    """Figures with those of one level at the top, where one was asked for.

    >>> flat({"clips": 3, "fine": {"micro_f1": 0.5}}, "fine")
    {'clips': 3, 'level': 'fine', 'micro_f1': 0.5}
    """
    if level is None:
        return figures
    rest = {name: value for name, value in figures.items() if name != level}
    return rest | {"level": str(level)} | figures[level]


def _of_files(asked: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    from auricle.evaluation.urban import evaluate_submission

    if asked["model"] is not None:
        raise typer.BadParameter(
            f"{asked['model']!r}: predictions are there already; give MODEL and PACK, or --predictions, "
            "--annotations and --taxonomy",
            param_hint="MODEL",
        )
    if missing := [f"--{name}" for name in OF_FILES if asked[name] is None]:
        raise typer.BadParameter(
            "missing; predictions, annotations and taxonomy are needed together",
            param_hint=" and ".join(missing),
        )
    refuse_options(given, NOT_OF_FILES, "has no effect with --predictions")
    return evaluate_submission(
        *(asked[name] for name in OF_FILES),
        splits=asked["split"] or None,
        levels=asked["level"] and [str(asked["level"])],
        out=asked["out"],
        draws=asked["draws"],
        seed=asked["seed"],
    )


def _of_model(asked: dict[str, Any]) -> dict[str, Any]:
    from auricle.cli.corpora import require_model, warn_of_training
    from auricle.evaluation.truth import LABEL_SET
    from auricle.evaluation.urban import evaluate_urban as evaluate_model

    model, pack = require_model(asked["model"], asked["pack"], "MODEL and PACK, or --predictions with others")
    chosen = assignments(asked["where"] or [], "--where")
    figures = evaluate_model(
        model,
        pack,
        splits=asked["split"] or None,
        where={key: tuple(value.split(",")) for key, value in chosen.items()} or None,
        subset=asked["subset"],
        levels=asked["level"] and [str(asked["level"])],
        out=asked["out"],
        label_set=asked["label_set"] or LABEL_SET,
        pooling=asked["pooling"] and asked["pooling"].value,
        threads=asked["threads"],
        draws=asked["draws"],
        seed=asked["seed"],
    )
    warn_of_training(model, figures)
    return figures


def _print(figures: dict[str, Any]) -> None:
    """Both levels side by side: the figures, then each coarse class; --format json has the rest."""
    levels = [level for level in LEVELS if level in figures]
    heads, rows = ["figure"], [[name] for name in FIGURES]
    classes = list(figures[levels[0]]["class_auprc"])
    rows += [[label] for label in classes]
    for level in levels:
        found = figures[level]
        intervals = found.get("intervals")
        values = [found[name] for name in FIGURES] + [found["class_auprc"][label] for label in classes]
        for row, value in zip(rows, values, strict=True):
            row.append(f"{value:.4f}")
        heads.append(f"{level}>")
        if intervals:
            heads.append(f"{100 * found['interval_level']:g}% interval")
            pairs = [intervals[name] for name in FIGURES]
            pairs += [intervals["class_auprc"][label] for label in classes]
            for row, (low, high) in zip(rows, pairs, strict=True):
                row.append("" if low is None else f"{low:.4f} to {high:.4f}")
        heads.append("clips>")
        for row, count in zip(rows, [""] * len(FIGURES) + list(found["clips_with"].values()), strict=True):
            row.append(str(count))
    print_table(sys.stdout, heads, rows, title=figures.get("mixed_from") or "")
    group = "sensor" if "annotations" in figures else "group"
    counts = f"{counted(figures['clips'], 'clip')} of {counted(figures['groups'], group)}"
    print(f"{counts}; a class's figure is its AUPRC")
    if figures["groups"] == 1:
        print(f"no intervals: they are drawn from {group}s, and all clips are of one")
    never: dict[str, list[str]] = {}
    for level in levels:
        if names := ", ".join(figures[level]["never_there"]):
            never.setdefault(names, []).append(level)
    for names, where in never.items():
        print(f"{' and '.join(where)}: in no clip, so their AUPRC is 0 by the protocol: {names}")
    if inferred := figures.get("coarse_inferred"):
        which = "every class" if len(inferred) == len(classes) else ", ".join(inferred)
        print(f"coarse scores inferred as the highest of the fine ones: {which}")
