"""The finished runs of an experiment as lines of a table like the project's results.csv."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auricle.experiments.cells import FIGURES
from auricle.experiments.options import RANKING

RESULTS = (
    *("recipe", "data", "fold", "metric", "ours", "paper"),
    *("commit", "hours", "device", "seed", "command"),
)
KEY = 4  # columns that say of what a line is


def write_results(results: Mapping[str, Any], experiment: str, path: Path, command: str = "") -> int:
    """Write the finished runs to a table like the project's results.csv, see `write_lines`.

    Args:
        results: as results.json holds them.
        experiment: goes before the row's name in the column `recipe`.
        path: a CSV file with the columns `RESULTS`; made where there is none.
        command: how to repeat it.

    Raises:
        ValueError: the file has other columns.
    """
    return write_lines([[*line, command] for line in lines_of(results, experiment)], path)


def write_lines(lines: Iterable[Sequence[str]], path: Path) -> int:
    """Put lines into a table like the project's results.csv; how many are new there, or differ.

    A line takes the place of the one of the same recipe, data, fold and metric, or stands at the end. One
    that differs by nothing but its command stays as it is.

    Args:
        lines: a value for each of `RESULTS`, in this order.
        path: a CSV file with these columns; made where there is none.

    Raises:
        ValueError: the file has other columns.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "results.csv"
    >>> line = ["compact", "ESC-50", "fold1", "map", "0.9", "", "1a2b3c4", "0.5", "a processor", "0", "make"]
    >>> other = [*line[:4], "0.8", *line[5:]]
    >>> [write_lines([each], path) for each in (line, line, other)]
    [1, 0, 1]
    >>> len(path.read_text().splitlines())
    2
    """
    there: list[list[str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            there = list(csv.reader(stream))
    if there and tuple(there[0]) != RESULTS:
        raise ValueError(f"{path}: has the columns {', '.join(there[0])}; expected {', '.join(RESULTS)}")
    kept = {tuple(line[:KEY]): line for line in there[1:]}
    changed = 0
    for line in map(list, lines):
        key = tuple(line[:KEY])
        if key not in kept or kept[key][:-1] != line[:-1]:
            kept[key] = line
            changed += 1
    if changed or not there:
        new = path.with_name(f".{path.name}.tmp")
        with new.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([RESULTS, *kept.values()])
        new.replace(path)
    return changed


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
