"""results.csv: every row says what it is of and how to make it again, by a command that a page has."""

import csv
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from auricle.cli import app
from auricle.experiments.lines import RESULTS

ROOT = Path(__file__).parents[1]
with (ROOT / "results.csv").open(newline="", encoding="utf-8") as stream:
    ROWS = list(csv.DictReader(stream))
COMMANDS = sorted({row["command"] for row in ROWS})


def printed() -> set[str]:
    """Commands of all pages, each in one line."""
    found = set()
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            for command in re.findall(r"(?:^|`|\$ )((?:auricle|python) [^`]*)", line):
                found.add(" ".join(command.split()))
    return found


def test_every_row_is_whole() -> None:
    assert tuple(ROWS[0]) == RESULTS
    for row in ROWS:
        assert None not in row and None not in row.values(), row
        trained = "int8" not in row["recipe"]
        for name in RESULTS:
            if name != "paper" and (trained or name not in ("hours", "seed")):
                assert row[name], (name, row)
        assert not trained or float(row["hours"]) > 0, row
        assert re.fullmatch(r"\d+(, \d+)*", row["seed"]) or not trained, row
        float(row["ours"])


def test_a_seed_in_a_rows_name_is_that_of_its_column() -> None:
    for row in ROWS:
        if named := re.search(r"\bseed[ =](\d+)", row["recipe"]):
            assert row["seed"] == named[1], row


def test_no_row_is_there_twice() -> None:
    seen = [tuple(row[name] for name in ("recipe", "data", "fold", "metric")) for row in ROWS]
    twice = {row for row in seen if seen.count(row) > 1}
    assert not twice


@cache
def measured() -> list[dict[str, float]]:
    """Metric -> figure of everything that was judged, and the means over seeds."""
    seeds: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}
    for row in ROWS:
        name = re.sub(r"seed[ =]\d+", "", row["recipe"])
        of = seeds.setdefault((name, row["data"], row["fold"]), {})
        of.setdefault(row["recipe"], {})[row["metric"]] = float(row["ours"])
    found = []
    for group in seeds.values():
        each = list(group.values())
        found += each
        if len(each) > 1 and all(set(one) == set(each[0]) for one in each):
            found.append({name: sum(one[name] for one in each) / len(each) for name in each[0]})
    return found


def is_measured(cells: dict[str, str]) -> bool:
    """Whether one of these has all the figures of a line."""

    def alike(value: float, cell: str) -> bool:
        # A figure was rounded once, and those of the table before that: the last place may differ by one.
        places = len(cell.partition(".")[2])
        return any(f"{value + off:.{places}f}" == cell for off in (0, 5e-5, -5e-5))

    return any(
        all(name in one and alike(one[name], cell) for name, cell in cells.items()) for one in measured()
    )


def test_the_pages_tables_have_figures_of_the_table() -> None:
    """A line's accuracy, mAP, AUC and d' are those of one thing that was judged, all of them."""
    known = {"accuracy": "accuracy", "mAP": "map", "AUC": "auc", "d'": "d_prime"}
    seen, strange, heads = 0, [], list[str]()
    for line in (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            heads = []
        elif not heads:
            paper = next((k for k, cell in enumerate(cells) if cell.startswith("paper")), len(cells))
            heads = [re.split(r"[,(:]", cell)[0].strip() for cell in cells[:paper]]
            if "class" in heads or "training clips" in heads:
                heads = [""]
        elif not set(line) <= set("|-: "):
            figures: dict[str, str] = {}
            for head, cell in zip(heads, cells, strict=False):
                if head in known and (number := re.match(r"\d\.\d+", cell)):
                    figures.setdefault(known[head], number[0])  # a second d' is of something else
            seen += len(figures)
            strange += [line] * (not is_measured(figures))
    assert seen > 200 and not strange


def test_a_line_of_figures_that_do_not_belong_together_is_found() -> None:
    first, second = [one for one in measured() if {"map", "auc", "d_prime"} <= set(one)][:2]
    right = {name: f"{value:.3f}" for name, value in first.items() if name in ("map", "auc", "d_prime")}
    assert len(right) == 3 and is_measured(right)
    assert not is_measured(right | {"map": f"{second['map']:.3f}"})


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_on_a_page_and_its_options_are_there(command: str) -> None:
    pages = printed()
    for part in command.split(" && "):
        assert part in pages, f"no page prints {part!r}"
        program, *words = shlex.split(part)
        options = [word for word in words if word.startswith("--")]
        if program == "auricle":
            verb = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
            known = {name for parameter in verb.params for name in parameter.opts}
        else:
            text = (ROOT / words[0]).read_text(encoding="utf-8")
            known = {option for option in options if f'"{option}"' in text}
        assert set(options) <= known, (part, set(options) - known)
