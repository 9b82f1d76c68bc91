"""How much disk, how many cores and devices, and how long: sums over a corpus, from named unit costs."""

from auricle.planning.costs import DEFAULT, SHIPPED, UnitCost, merge_costs, read_costs, write_costs
from auricle.planning.sheet import Line, Sheet
from auricle.planning.sums import Plan, Question, make_plan
from auricle.planning.tables import in_words, rows

__all__ = [
    "DEFAULT",
    "SHIPPED",
    "Line",
    "Plan",
    "Question",
    "Sheet",
    "UnitCost",
    "in_words",
    "make_plan",
    "merge_costs",
    "read_costs",
    "rows",
    "write_costs",
]
