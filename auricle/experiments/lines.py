"""The finished runs of an experiment as lines of a table like the project's results.csv."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auricle.experiments.cells import FIGURES
from auricle.experiments.options import RANKING

RESULTS = (
    *("recipe", "data", "fold", "metric", "ours", "paper"),
    *("commit", "hours", "device", "seed", "command"),
)


def append_results(results: Mapping[str, Any], experiment: str, path: Path, command: str = "") -> int:
    """Append the finished runs to a table like the project's results.csv; how many lines were new.

    A line that is there already, by whatever command, is not written again.

    Args:
        results: as results.json holds them.
        experiment: goes before the row's name in the column `recipe`.
        path: a CSV file with the columns `RESULTS`; made where there is none.
        command: how to repeat it.

    Raises:
        ValueError: the file has other columns.
    """
    there: list[list[str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            there = list(csv.reader(stream))
        if there and tuple(there[0]) != RESULTS:
            raise ValueError(f"{path}: has the columns {', '.join(there[0])}; expected {', '.join(RESULTS)}")
    known = {tuple(line[:-1]) for line in there}
    new = [[*line, command] for line in lines_of(results, experiment) if tuple(line) not in known]
    with path.open("a", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([list(RESULTS)] * (not there) + new)
    return len(new)


def lines_of(results: Mapping[str, Any], experiment: str) -> Iterator[list[str]]:
    """A line a run and figure, without the command: on the test clips, then on mixtures, if there are any."""
    for run in results["runs"]:
        if not run["shown"]:
            continue
        data = results["mixed"] or str(run["figures"].get("pack", "")).rpartition("/")[2]
        judged = {"": (data, run["figures"])}
        if results.get("mixtures") and "mixtures" in run:
            judged["mixtures"] = (results["mixtures"], run["mixtures"]["figures"])
        for entry, metric, _ in FIGURES.values():
            if entry not in judged or metric not in results.get("figures", RANKING):
                continue
            name, figures = judged[entry]
            if (value := figures.get(metric)) is None:
                continue
            paper = None if entry else run["paper"].get(metric)  # the paper judged no mixtures
            yield [
                f"{experiment}: {run['row']}, {trained(run)}",
                name,
                "+".join(results["judged_on"]),
                metric,
                f"{value:.4f}",
                "" if paper is None else f"{paper:g}",
                run["commit"],
                f"{run['hours']:.3f}",
                run["device"],
                str(run["seed"]),
            ]


def trained(run: Mapping[str, Any]) -> str:
    """How wide and how long a run was trained, and what was set for its model alone.

    >>> trained({"width": 1.0, "steps": 50, "finetune_steps": 10, "seed": 0, "settings": {"window": "80000"}})
    'width 1, 50 + 10 steps, window=80000, seed 0'
    """
    more = f" + {run['finetune_steps']}" if run.get("finetune_steps") else ""
    own = "".join(f"{key}={value}, " for key, value in run.get("settings", {}).items())
    return f"width {run['width']:g}, {run['steps']}{more} steps, {own}seed {run['seed']}"
