"""Folders that other verbs wrote -> a folder of figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.report.classes import classes_html, classes_markdown, read_per_class
from auricle.report.confusion import draw_confusion, read_confusion
from auricle.report.curves import draw_curves, read_logs
from auricle.report.priors import prior_summary, random_share, write_priors
from auricle.report.reliability import draw_reliability, read_reliability
from auricle.report.style import save, undrawable

OUT_OF_FOLD = "out-of-fold"  # of a run of own classes: where the figures of its folds lie


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written, and the numbers of Fig. 1 where an evaluation was among the folders."""

    paths: tuple[Path, ...]
    priors: dict[str, Any] | None
    heading: str = ""  # of figures on mixed scenes, or of mapped labels
    warnings: tuple[str, ...] = ()


def write_report(
    folders: Sequence[str | Path], out: str | Path, *, share: float = 1.0, seed: int = 0
) -> Report:
    """Figures of at most one evaluation and any number of training runs.

    Args:
        folders: each with `per_class.csv` (an evaluation's) or `log.jsonl` (a run's).
        out: folder, made where it is not there.
        share: of the classes that Fig. 1 draws; its numbers and the tables are over all.
        seed: of the share.

    Raises:
        ValueError: a folder is neither, or several are evaluations.

    >>> write_report(["out/eval", "out/run1", "out/run2"], "out/figures").paths  # doctest: +SKIP
    """
    evaluations = [Path(folder) for folder in folders if (Path(folder) / "per_class.csv").is_file()]
    runs = [Path(folder) for folder in folders if (Path(folder) / "log.jsonl").is_file()]
    for folder in folders:
        if Path(folder) not in (*evaluations, *runs):
            named, inner = (
                "what auricle evaluate --out or auricle train --out wrote",
                Path(folder) / OUT_OF_FOLD,
            )
            if (inner / "per_class.csv").is_file():
                named = f"{inner}, which auricle train --examples wrote"
            raise ValueError(f"{folder}: holds neither per_class.csv nor log.jsonl; name {named}")
    if len(evaluations) > 1:
        raise ValueError(f"{evaluations[1]}: a second evaluation after {evaluations[0]}; name one at a time")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    numbers, heading, warnings = None, "", []
    for evaluation in evaluations:
        classes = read_per_class(evaluation)
        numbers = prior_summary(classes)
        drawn = classes.take(random_share(len(classes.labels), share, seed)) if share < 1 else classes
        heading = heading_of_folder(evaluation)
        paths += write_priors(drawn, out, title=heading)
        for name, content in (
            ("classes.html", classes_html(classes, title=heading or "Class by class")),
            ("classes.md", (heading and f"{heading}\n\n") + classes_markdown(classes)),
        ):
            (out / name).write_text(content, encoding="utf-8")
            paths.append(out / name)
        if (figures := read_reliability(evaluation)) is not None:
            save(draw_reliability(figures, title=heading), out / "reliability.png")
            paths.append(out / "reliability.png")
        if (found := read_confusion(evaluation)) is not None:
            save(draw_confusion(*found, heading=heading), out / "confusion.png", dpi=90)
            paths.append(out / "confusion.png")
            warnings += undrawable(found[1])
        if numbers["few_clips"]:
            warnings.append(numbers["few_clips"])
    if runs:
        save(draw_curves(read_logs(runs)), out / "curves.png")
        paths.append(out / "curves.png")
    return Report(paths=tuple(paths), priors=numbers, heading=heading, warnings=tuple(warnings))


def heading_of(figures: Mapping[str, Any]) -> str:
    """What figures must not be read without: that sounds are mixed, and by which map labels came.

    >>> heading_of({"mixed_from": None, "label_map": {"name": "audioset-esc50"}})
    'labels by the map audioset-esc50'
    """
    mapped = figures.get("label_map")
    parts = [figures.get("mixed_from") or "", f"labels by the map {mapped['name']}" if mapped else ""]
    return "; ".join(filter(None, parts))


def heading_of_folder(evaluation: Path) -> str:
    """What an evaluation's figures must not be read without; "" where there is nothing.

    >>> heading_of_folder(Path("no-such-evaluation"))
    ''
    """
    metrics = evaluation / "metrics.json"
    if not metrics.is_file():
        return ""
    return heading_of(json.loads(metrics.read_text(encoding="utf-8")))
