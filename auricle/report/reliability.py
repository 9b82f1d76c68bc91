"""Reliability diagrams: of what scores 0.8, how much is true, and how often 0.8 is said at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auricle.report.style import COLOURS, GREY, drawing

PANELS = {"top": ("the best label of each clip", "ece_top"), "all": ("all pairs of clip and label", "ece")}


def read_reliability(evaluation: str | Path) -> dict[str, Any] | None:
    """What `metrics.json` of an evaluation says of calibration; None where it says nothing.

    >>> read_reliability("no-such-evaluation")
    """
    metrics = Path(evaluation) / "metrics.json"
    if not metrics.is_file():
        return None
    figures = json.loads(metrics.read_text(encoding="utf-8"))
    return figures if isinstance(figures, dict) and figures.get("reliability") else None


def draw_reliability(figures: Mapping[str, Any], *, title: str = "") -> Figure:
    """Diagrams of the best labels and of all pairs, and under each how many scores its bins hold.

    A bar is the share of true ones in a bin of scores; where bars end on the diagonal, scores are
    probabilities.

    Args:
        figures: as `auricle.evaluation.evaluate` gives them: "reliability", "ece", "ece_top".
        title: above all.

    >>> bins = [{"low": 0.0, "high": 0.5, "count": 4.0, "score": 0.2, "true": 0.25}]
    >>> figure = draw_reliability({"reliability": {"top": bins, "all": bins}, "ece": 0.05, "ece_top": None})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['share that is true', '', 'scores', '']
    """
    with drawing():
        figure = Figure(figsize=(9.0, 5.4), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
        for column, (name, (what, error)) in enumerate(PANELS.items()):
            bins: Sequence[Mapping[str, float]] = figures["reliability"][name]
            above, below = axes[:, column]
            low, high, count, score, true = (
                np.array([one[key] for one in bins]) for key in ("low", "high", "count", "score", "true")
            )
            bars = {"width": high - low, "align": "edge", "edgecolor": "white"}
            above.bar(low, true, color=COLOURS[0], **bars)
            above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
            above.plot(score, true, color=COLOURS[1], marker="o", markersize=4, linewidth=0)
            value = figures.get(error)
            said = "not defined" if value is None else f"{value:.4f}"
            above.set_title(f"{what}\nexpected calibration error {said}")
            above.set_xlim(0, 1)
            above.set_ylim(0, 1)
            below.bar(low, count, color=GREY, log=True, **bars)
            below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            below.set_xlabel("score")
        axes[0, 0].set_ylabel("share that is true")
        axes[1, 0].set_ylabel("scores")
        if title:
            figure.suptitle(title)
    return figure
