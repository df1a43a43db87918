"""Arms x budgets x seeds over shared trees: tables, intervals, claims."""

from riverrun.compare.comparison import Compared, compare
from riverrun.compare.local import LocalWorkers
from riverrun.compare.opening import open_design
from riverrun.compare.plan import ComparisonPlan, load_plan, parse_plan
from riverrun.compare.results import Method, Result

__all__ = [
    "Compared",
    "ComparisonPlan",
    "LocalWorkers",
    "Method",
    "Result",
    "compare",
    "load_plan",
    "open_design",
    "parse_plan",
]
