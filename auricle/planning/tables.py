"""A plan for people: every line with its unit, and where it comes from."""

from collections.abc import Iterator
from itertools import groupby

from auricle.planning.sheet import Line
from auricle.planning.sums import Plan

PARTS = ("given", "unit costs", "storage", "packing", "training", "scoring", "tagging")
PREFIXES = ("", "k", "M", "G", "T", "P", "E")
SPANS = ((7 * 86400.0, "weeks"), (86400.0, "days"), (3600.0, "h"), (60.0, "min"))


def in_words(value: float, unit: str) -> str:
    """A number with its unit, in sizes that people read.

    >>> in_words(6.036e14, "bytes"), in_words(13955555, "s"), in_words(21000, "")
    ('603.6 TB', '23.1 weeks = 161.5 days = 3,876.5 h', '21,000')
    """
    if unit in ("bytes", "bytes/s"):
        power = 0
        while value >= 999.95 and power < len(PREFIXES) - 1:
            value, power = value / 1000, power + 1
        letter = "B" + unit.removeprefix("bytes")
        return f"{value:,.{1 if power else 0}f} {PREFIXES[power]}{letter}"
    if unit == "s" and value >= 60:
        spans = [f"{value / length:,.1f} {name}" for length, name in SPANS if value >= length]
        return " = ".join(spans[: 3 if value >= SPANS[0][0] else 2])
    text = f"{value:,.0f}" if value == int(value) or value >= 1e6 else f"{value:,.4g}"
    if value != int(value) and 1000 <= value < 1e6:
        text = f"{value:,.1f}"
    return f"{text} {unit}".rstrip()


def rows(plan: Plan) -> Iterator[tuple[str, list[tuple[str, str, str, str]]]]:
    """(part, its rows): name, number with unit, what it is, where it comes from.

    >>> from auricle.planning.sums import Question, make_plan
    >>> parts = dict(rows(make_plan(Question(hours=1, clips=60), {})))
    >>> parts["storage"][0]
    ('source_bytes', '57.6 MB', 'compressed recordings', '= hours * 3600 * source_kbps * 1000 / 8')
    """
    ranked = sorted(plan.lines, key=lambda line: PARTS.index(line.part))
    for part, lines in groupby(ranked, key=lambda line: line.part):
        yield (
            part,
            [(line.name, in_words(line.value, line.unit), line.what, _from(plan, line)) for line in lines],
        )


def _from(plan: Plan, line: Line) -> str:
    if not line.formula:
        return line.source
    costs = [name for name in plan.sheet.costs_of(line.name) if name not in line.formula]
    return f"= {line.formula}" + (f"  [{', '.join(costs)}]" if costs else "")
