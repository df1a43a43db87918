"""The packages that only a comparison needs."""

from importlib.util import find_spec

from riverrun.compare.plan import ComparisonPlan
from riverrun.errors import SettingError


def require_packages(plan: ComparisonPlan) -> None:
    """Raise `SettingError` if a comparison could not be made or told; to be asked before anything is trained."""
    needed = {"scipy": "the intervals", "matplotlib": "the figure"}
    if any(arm.kind == "schedule-free" for arm in plan.arms.values()):
        needed["schedulefree"] = "an arm"
    missing = [f"{package} for {use}" for package, use in needed.items() if find_spec(package) is None]
    if missing:
        raise SettingError(f"compare: needs {' and '.join(missing)}. pip install 'riverrun[compare]'")
