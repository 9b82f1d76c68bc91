"""What a k-fold judgement says: figures with intervals, class by class, what is taken for what.

Shape letters: N clips, K columns: the labels and, where clips have none, what has none of them.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.evaluation import affordable_draws
from auricle.evaluation.files import Replacing, jsonable, score_batches, write
from auricle.metrics.bootstrap import bootstrap_intervals
from auricle.metrics.ranking import per_class, summarise
from auricle.own_classes.copies import NO_COPIES, copies_in_words, count_copies
from auricle.own_classes.examples import Examples
from auricle.text import counted

NONE = "(none of them)"
OUT_OF_FOLD = "out-of-fold"
DROPPED = "no folds, no report: that of the earlier run is removed"
SHOWN = {"accuracy": "accuracy", "map": "mAP", "auc": "AUC"}
NO_INTERVAL = "none: draws of the recordings all give the same"
MOST_PAIRS = 10  # that are taken for each other, of the text


def judge(
    examples: Examples, scores_NK: np.ndarray, folds_N: np.ndarray, *, draws: int | None = None
) -> dict[str, Any]:
    """Figures of scores out of fold; intervals are from drawing whole recordings again.

    Args:
        examples: N clips.
        scores_NK: of each clip, by a classifier that heard no recording of its fold.
        folds_N: the fold of each.
        draws: of the intervals; 0 leaves them out.

    Returns:
        Figures of `auricle.metrics.ranking.summarise`, "intervals", "labels", "by_class" (label -> clips, ap,
        auc, and of one label a clip recall and precision), "by_fold" (accuracy of one label a clip, mAP),
        "confusion" (rows the truth, columns the best score) of one label a clip.
    """
    targets = examples.softmax_targets
    names = column_names(examples, targets)
    draws = affordable_draws(*targets.shape) if draws is None else draws
    figures: dict[str, Any] = summarise(targets, scores_NK)
    found = per_class(targets, scores_NK)
    by_class: dict[str, dict[str, Any]] = {
        name: {"clips": int(found["positives"][k]), "ap": found["ap"][k], "auc": found["auc"][k]}
        for k, name in enumerate(names)
    }
    if draws:
        made = bootstrap_intervals(targets, scores_NK, examples.recordings, draws=draws)
        figures["intervals"] = {name: list(made[name]) for name in SHOWN}
        figures["interval_draws"] = draws
    if examples.kind == "one":
        truth, best = targets.argmax(axis=1), scores_NK.argmax(axis=1)
        counts = np.zeros((len(names), len(names)), np.int64)
        np.add.at(counts, (truth, best), 1)
        for k, name in enumerate(names):
            by_class[name]["recall"] = counts[k, k] / max(1, counts[k].sum())
            by_class[name]["precision"] = counts[k, k] / max(1, counts[:, k].sum())
        figures["confusion"] = counts.tolist()
    by_fold = []
    for fold in range(int(folds_N.max()) + 1):
        there = folds_N == fold
        one = summarise(targets[there], scores_NK[there])
        by_fold.append({name: one[name] for name in ("clips", "accuracy", "map")})
    figures |= {"labels": names, "kind": examples.kind, "by_class": by_class, "by_fold": by_fold}
    figures["recordings"] = len(np.unique(examples.recordings))
    figures |= count_copies(examples, folds_N)
    return dict(jsonable(figures))


def column_names(examples: Examples, targets: np.ndarray) -> list[str]:
    """A name for each column of the targets.

    >>> from types import SimpleNamespace
    >>> column_names(SimpleNamespace(labels=("owl",)), np.zeros((1, 2)))
    ['owl', '(none of them)']
    """
    return [*examples.labels, *([NONE] if targets.shape[1] > len(examples.labels) else [])]


def in_words(figures: Mapping[str, Any], title: str) -> list[str]:
    """The report as Markdown, a line each.

    >>> figures = {"clips": 2, "recordings": 2, "kind": "several", "by_fold": [{"map": 1.0}] * 2, "map": 1.0,
    ...            "auc": 1.0, "by_class": {"owl": {"clips": 1, "ap": 1.0, "auc": 1.0}}}
    >>> in_words(figures, "Birds")[2]
    '2 clips of 2 recordings; each was scored by a model that had not heard its fold, of 2 by recording.'
    """
    lines = [f"# {title}", ""]
    folds = figures["by_fold"]
    lines.append(
        f"{counted(figures['clips'], 'clip')} of {counted(figures['recordings'], 'recording')}; each was "
        f"scored by a model that had not heard its fold, of {len(folds)} by recording."
    )
    if copies := copies_in_words({**NO_COPIES, **figures}):
        lines[-1] += f" {copies}."
    lines += ["", "| figure | all folds | 95% interval | by fold |", "|---|---|---|---|"]
    for name, shown in SHOWN.items():
        if name == "accuracy" and figures["kind"] != "one" or figures.get(name) is None:
            continue
        low, high = figures.get("intervals", {}).get(name, (None, None))
        interval = NO_INTERVAL if name in figures.get("intervals", {}) else ""
        interval = interval if low is None or high is None else f"{low:.3f} to {high:.3f}"
        each = ", ".join(_figure(fold[name]) for fold in folds if name in fold)
        lines.append(f"| {shown} | {figures[name]:.3f} | {interval} | {each} |")
    lines += ["", "## By class", ""]
    columns = [name for name in ("clips", "recall", "precision", "ap", "auc") if name in _first(figures)]
    lines += ["| class | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for label, row in figures["by_class"].items():
        lines.append(f"| {_cell(label)} | " + " | ".join(_figure(row[name]) for name in columns) + " |")
    lines += calibration_lines(figures.get("calibration", {}))
    if pairs := mistaken(figures):
        lines += ["", "## Taken for each other most often", ""]
        lines += ["| what it is | taken for | clips |", "|---|---|---|"]
        lines += [f"| {_cell(truth)} | {_cell(given)} | {count} |" for truth, given, count in pairs]
    return lines


def calibration_lines(about: Mapping[str, Any]) -> list[str]:
    """How far scores are from probabilities, before and after calibration; empty where nobody looked.

    >>> calibration_lines({"stored": True, "before": {"ece": 0.06}, "after": {"ece": 0.02}})[-1]
    '| ece | 0.0600 | 0.0200 |'
    """
    if "before" not in about:
        return []
    kept = "" if about["stored"] else " It made scores worse, so the model has none."
    lines = ["", "## Calibration", "", f"Each fold by a calibration that had not met it.{kept}", ""]
    lines += ["| figure | before | after |", "|---|---|---|"]
    return lines + [
        f"| {name} | {value:.4f} | {about['after'][name]:.4f} |" for name, value in about["before"].items()
    ]


def mistaken(figures: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(truth, what scored highest, clips) of the commonest mistakes, the commonest first.

    >>> mistaken({"confusion": [[3, 1], [2, 4]], "labels": ["owl", "wren"]})
    [('wren', 'owl', 2), ('owl', 'wren', 1)]
    """
    counts, labels = np.array(figures.get("confusion", [])), figures.get("labels", [])
    found = [
        (labels[row], labels[column], int(counts[row, column]))
        for row, column in np.argwhere(counts > 0)
        if row != column
    ]
    return sorted(found, key=lambda entry: -entry[2])[:MOST_PAIRS]


def drop_report(run: Path) -> bool:
    """Remove what `write_report` left of an earlier run, whose model is about to be replaced.

    Args:
        run: the run's folder; where it has no model, nothing in it is of a run, and all stays.

    Returns:
        Whether there was a report.

    >>> drop_report(Path("no-such-run"))
    False
    """
    if not (run / "last" / "model.json").is_file():
        return False
    there = (run / "report.json").is_file()
    for name in ("report.md", "report.json", "confusion.png"):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / OUT_OF_FOLD, ignore_errors=True)
    return there


def write_report(
    run: Path,
    examples: Examples,
    scores_NK: np.ndarray,
    folds_N: np.ndarray,
    figures: Mapping[str, Any],
    title: str,
) -> None:
    """report.md, report.json and out-of-fold/ of a run: the scores, as `auricle evaluate` leaves them.

    Args:
        run: an existing folder.
        examples: N clips.
        scores_NK: as in `judge`, and so is folds_N.
        folds_N: see above.
        figures: what `judge` gave, and more.
        title: of the report.
    """
    from auricle.report.confusion import MOST_CLASSES, draw_confusion  # matplotlib takes a second
    from auricle.report.style import save

    folder = run / OUT_OF_FOLD
    folder.mkdir(exist_ok=True)
    targets = examples.softmax_targets
    names = column_names(examples, targets)
    shown = scores_NK[:, : len(examples.labels)].astype(np.float32)
    batches = score_batches(examples.pack, examples.clips, shown, list(examples.labels), examples.label_set)
    write(folder, dict(figures), names, per_class(targets, scores_NK), batches)
    if "confusion" in figures and len(names) <= MOST_CLASSES:
        save(draw_confusion(np.array(figures["confusion"]), names, heading=title), run / "confusion.png")
    with Replacing(run / "report.md") as path:
        path.write_text("\n".join(in_words(figures, title)) + "\n", encoding="utf-8")
    with Replacing(run / "report.json") as path:
        rows: Sequence[dict[str, Any]] = [
            {
                "clip": str(examples.pack.ids[clip]),
                "recording": recording.lstrip("\x1f"),
                "fold": int(fold) + 1,
            }
            for clip, recording, fold in zip(examples.clips, examples.recordings, folds_N, strict=True)
        ]
        text = json.dumps(dict(figures) | {"folds": list(rows)}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def _first(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(figures["by_class"].values()))


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
