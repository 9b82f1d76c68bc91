"""Learning curves: the logs of training runs, laid over each other."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auricle.report.style import COLOURS, drawing

# Figure in the log -> what its axis says. Panels without a figure in any run are left out.
PANELS = {
    "loss": "training loss",
    "validation_loss": "validation loss",
    "validation_map": "validation mAP",
    "validation_accuracy": "validation accuracy",
    "learning_rate": "learning rate",
}
# A colour alone does not tell an eighth run from the first.
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))

ROOM = 1.06  # of the greatest value: its point is drawn whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """A run's figures: name -> ((N,) steps, (N,) values); NaN where a value was not defined."""

    name: str
    series: dict[str, tuple[np.ndarray, np.ndarray]]


def read_log(path: str | Path) -> Curves:
    """Read a run's folder, or its log.jsonl; a line that a kill cut off is left out.

    Raises:
        ValueError: there is no log, or no figure in it.

    >>> read_log("out/run").series["loss"]  # doctest: +SKIP
    """
    log = Path(path) / "log.jsonl" if Path(path).is_dir() else Path(path)
    if not log.is_file():
        raise ValueError(f"{log}: not there; auricle train --out {log.parent} writes it")
    found: dict[str, list[tuple[int, float]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "step" not in entry or "event" in entry:
            continue
        for name, value in entry.items():
            if name not in ("step", "seconds") and (value is None or isinstance(value, int | float)):
                found.setdefault(name, []).append((entry["step"], np.nan if value is None else float(value)))
    series = {
        name: (np.array([step for step, _ in points]), np.array([value for _, value in points]))
        for name, points in found.items()
        if not all(np.isnan(value) for _, value in points)
    }
    if not series:
        raise ValueError(f"{log}: no figure in it yet; wait for the first steps")
    return Curves(name=log.absolute().parent.name, series=series)


def read_logs(paths: Sequence[str | Path]) -> list[Curves]:
    """`read_log` of several runs; those of one name are told apart by the folders they are in.

    >>> read_logs([])
    []
    """
    runs = [read_log(path) for path in paths]
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else replace(run, name=str(path))
        for run, path in zip(runs, paths, strict=True)
    ]


def draw_curves(runs: Sequence[Curves]) -> Figure:
    """One panel a figure on a common axis of steps, one line a run.

    Raises:
        ValueError: no run has any of the figures that are drawn.

    >>> run = Curves(name="a", series={"loss": (np.array([1, 2]), np.array([0.7, 0.5]))})
    >>> draw_curves([run]).axes[0].get_ylabel()
    'training loss'
    """
    names = [name for name in PANELS if any(name in run.series for run in runs)]
    if not names:
        raise ValueError(f"no run has a figure to draw; expected one of {', '.join(PANELS)}")
    with drawing():
        figure = Figure(figsize=(8.5, 1.0 + 1.75 * len(names)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(len(names), 1, sharex=True))
        for axes, name in zip(panels, names, strict=True):
            for n, run in enumerate(runs):
                if name in run.series:
                    steps, values = run.series[name]
                    dots = "." if len(steps) < 30 else ""
                    axes.plot(
                        steps,
                        values,
                        color=COLOURS[n % len(COLOURS)],
                        linestyle=DASHES[n // len(COLOURS) % len(DASHES)],
                        marker=dots,
                        linewidth=1.4,
                        label=run.name,
                    )
            axes.set_ylabel(PANELS[name])
            axes.grid(axis="y", color="#e3e3e3", linewidth=0.7)
            axes.set_axisbelow(True)
            if name in ("validation_map", "validation_accuracy"):
                axes.set_ylim(0, 1.03)  # a point at 1 is drawn whole
            else:
                # From 0: a constant learning rate would get an axis of its rounding.
                drawn = np.concatenate([run.series[name][1] for run in runs if name in run.series])
                greatest = float(drawn[np.isfinite(drawn)].max(initial=0.0))
                axes.set_ylim(0, ROOM * greatest or 1.0)
        panels[-1].set_xlabel("step (mini-batches)")
        figure.align_ylabels(panels)
        if len(runs) > 1:
            lines, labels = _legend(panels)
            figure.legend(lines, labels, loc="outside upper left", ncols=min(4, len(labels)))
        else:
            panels[0].set_title(runs[0].name)
    return figure


def _legend(panels: Any) -> tuple[list[Any], list[str]]:
    """Every run once, though it may lack the figure of the first panel."""
    known: dict[str, Any] = {}
    for axes in panels:
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, line)
    return list(known.values()), list(known)
