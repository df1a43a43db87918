"""Merges of checkpoints on disk, riverrun's and of other trainers: streamed, rounded once, any model size."""

from riverrun.merge.errors import MergeError
from riverrun.merge.merging import Progress, merge
from riverrun.merge.plan import MergePlan, check_target, plan_merge
from riverrun.merge.series import Series, read_series
from riverrun.merge.series_average import plan_average

__all__ = [
    "MergeError",
    "MergePlan",
    "Progress",
    "Series",
    "check_target",
    "merge",
    "plan_average",
    "plan_merge",
    "read_series",
]
