"""The packages that only a comparison needs."""

from riverrun.compare.plan import ComparisonPlan
from riverrun.extras import require_packages


def require_its_packages(plan: ComparisonPlan) -> None:
    """Raise `SettingError` if a comparison could not be made or told; to be asked before anything is trained."""
    needed = {"scipy": "the intervals", "matplotlib": "the figure"}
    if any(arm.kind == "schedule-free" for arm in plan.arms.values()):
        needed["schedulefree"] = "an arm"
    require_packages("compare", "compare", needed)
