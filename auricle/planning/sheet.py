"""A sheet of lines, each a number with its unit, and where it comes from: given, measured, or a formula."""

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OPERATIONS: dict[type, Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
FUZZ = 1e-9  # of a number: what rounding in floating point may add must not cost a whole device


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number of a plan.

    Args:
        name: by which formulas name it.
        part: what it belongs to: "given", "unit costs", "storage", "packing", ...
        what: in words.
        value: in `unit`; seconds, bytes and the like, without prefixes.
        unit: of the value; "" for counts.
        formula: of names of lines before; "" where the number comes from outside.
        source: where it comes from, where there is no formula.
    """

    name: str
    part: str
    what: str
    value: float
    unit: str
    formula: str = ""
    source: str = ""


class Sheet:
    """Lines in order; a value is what its formula says of the lines before, so the two cannot differ.

    >>> sheet = Sheet()
    >>> sheet.take("hours", "given", "of sound", 2, "h", "given")
    >>> sheet.reckon("seconds", "given", "of sound", "hours * 3600", "s")
    >>> sheet["seconds"]
    7200.0
    """

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.lines

    def __getitem__(self, name: str) -> float:
        return self.lines[name].value

    def take(self, name: str, part: str, what: str, value: float, unit: str, source: str) -> None:
        """Add a number from outside."""
        assert name.isidentifier() and name not in self.lines and source, name
        self.lines[name] = Line(name=name, part=part, what=what, value=value, unit=unit, source=source)

    def reckon(self, name: str, part: str, what: str, formula: str, unit: str) -> None:
        """Add a number that follows from those before."""
        assert name.isidentifier() and name not in self.lines, name
        value = evaluate(formula, {other: line.value for other, line in self.lines.items()})
        self.lines[name] = Line(name=name, part=part, what=what, value=value, unit=unit, formula=formula)

    def costs_of(self, name: str) -> list[str]:
        """Names of the unit costs that a line rests on, directly or by way of other lines."""
        line = self.lines[name]
        if line.part == "unit costs" and not line.formula:
            return [name]
        found: dict[str, None] = {}
        for other in names_in(line.formula) if line.formula else []:
            found |= dict.fromkeys(self.costs_of(other))
        return list(found)


def names_in(formula: str) -> list[str]:
    """The names of lines in a formula, in order, each once.

    >>> names_in("ceil(hours * 3600 / (hop * hours))")
    ['hours', 'hop']
    """
    nodes = [node for node in ast.walk(ast.parse(formula, mode="eval")) if isinstance(node, ast.Name)]
    nodes.sort(key=lambda node: node.col_offset)
    return [name for name in dict.fromkeys(node.id for node in nodes) if name not in FUNCTIONS]


def evaluate(formula: str, values: dict[str, float]) -> float:
    """What a formula of +, -, *, / and ceil, max, min, log, exp is.

    Args:
        formula: say "ceil(hours * 3600 / hop)".
        values: of its names.

    >>> evaluate("ceil(hours * 3600 / hop)", {"hours": 1, "hop": 0.96})
    3750.0
    """

    def of(node: Any) -> float:
        if isinstance(node, ast.Constant):
            return float(str(node.value))
        if isinstance(node, ast.Name):
            return float(values[node.id])
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](of(node.left), of(node.right))
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name), formula
        return float(FUNCTIONS[node.func.id](*(of(argument) for argument in node.args)))

    return of(ast.parse(formula, mode="eval").body)


def _ceil(value: float) -> float:
    return math.ceil(value - FUZZ * max(1.0, abs(value)))


FUNCTIONS: dict[str, Callable[..., float]] = {
    "ceil": _ceil,
    "max": max,
    "min": min,
    "log": math.log,
    "exp": math.exp,
}
