"""Sections of a model card that say how the model's recipe does out of fold, on changed sound and others."""

from collections.abc import Mapping, Sequence
from typing import Any

from auricle.pooling import POOLINGS
from auricle.text import counted

PERCENT = "95% of draws of recordings"


def robustness_sections(about: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown: Robustness, Windows, Most confused and Calibration out of fold.

    Args:
        about: what `auricle.recipes.robustness.measure` gives; it stands under "robustness" in a model's
            metrics.

    >>> same = {"name": "unchanged", "accuracy": 0.8, "map": 0.9}
    >>> changed = {"name": "gain -20 dB", "accuracy": 0.7, "map": 0.8, "accuracy_difference": -0.1,
    ...            "accuracy_interval": [-0.12, -0.08], "map_difference": -0.1, "map_interval": None}
    >>> about = {"clips": 400, "recordings": 300, "models": {"fold1": "f"}, "changes": [same, changed]}
    >>> print(robustness_sections(about)[-1])
    | gain -20 dB | 0.700 | -0.100 (-0.120 to -0.080) | 0.800 | -0.100 |
    """
    lines = ["## Robustness", ""]
    models, clips = counted(len(about["models"]), "model"), counted(about["clips"], "clip")
    lines.append(
        f"{models} by the same recipe, each asked about clips it has not heard, as they are and changed: "
        f"{clips} of {counted(about['recordings'], 'recording')} in all. In brackets {PERCENT}, of the "
        "difference on the same clips. Levels are those of frames of 10 ms within 35 dB of the loudest."
    )
    lines += ["", *_table("", about["changes"])]
    if windows := about.get("windows"):
        lines += ["", "## Windows", "", _about_windows(about), "", *_table("", windows)]
    if confused := about.get("confused"):
        lines += ["", "## Most confused", "", "| is | taken for | clips | of |", "|---|---|---|---|"]
        lines += [f"| {row['is']} | {row['taken_for']} | {row['clips']} | {row['of']} |" for row in confused]
    if "calibration" in about:
        lines += ["", *_calibration(about["calibration"])]
    return lines


def _about_windows(about: Mapping[str, Any]) -> str:
    pooled = POOLINGS[about.get("pooling", "mean")]
    text = (
        f"The model hears windows of {about['window']:g} s every {about['hop']:g} s; a clip's score is the "
        f"{pooled} of theirs. Here are windows of other lengths side by side, the last one ending with the "
        "clip; of each clip its loudest stretch alone, as one window; and the model's own windows at other "
        "hops."
    )
    if any(row.get("padded") for row in about["windows"]):
        text += " The net takes no window but its own: stretches are heard in it, padded with zeros."
    return text


def _table(head: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"| {head} | accuracy | less unchanged | mAP | less unchanged |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [row["name"]]
        for figure in ("accuracy", "map"):
            cells += [f"{row[figure]:.3f}", _difference(row, figure)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _difference(row: Mapping[str, Any], figure: str) -> str:
    if f"{figure}_difference" not in row:
        return ""
    interval = row[f"{figure}_interval"]
    sure = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    return f"{row[f'{figure}_difference']:+.3f}{sure}"


def _calibration(about: Mapping[str, Any]) -> list[str]:
    """The errors, and the bins of the best class."""
    lines = ["## Calibration out of fold", ""]
    named = {
        "ece": "expected calibration error, all pairs of clip and class",
        "ece_top": "the same, of each clip's best class",
        "ece_classwise": "the same, the mean of each class's",
        "brier": "Brier score",
        "log_loss": "logarithmic loss",
    }
    lines += ["| | | |", "|---|---|---|"]
    for name, words in named.items():
        ends = about["intervals"].get(name) or [None]
        sure = "" if None in ends else " to ".join(f"{end:.4f}" for end in ends)
        lines.append(f"| {words} | {about[name]:.4f} | {sure} |")
    lines += [
        "",
        "Of each clip's best class:",
        "",
        "| score | clips | mean score | right |",
        "|---|---|---|---|",
    ]
    for row in about["top"]:
        span = f"{row['low']:.2f} to {row['high']:.2f}"
        lines.append(f"| {span} | {row['count']:.0f} | {row['score']:.3f} | {row['true']:.3f} |")
    return lines
