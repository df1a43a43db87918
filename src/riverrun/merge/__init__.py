"""Merges of checkpoints on disk: streamed, rounded once, any model size, Hugging Face format out."""

from riverrun.merge.errors import MergeError
from riverrun.merge.merging import Progress, merge
from riverrun.merge.plan import MergePlan, check_target, plan_merge

__all__ = ["MergeError", "MergePlan", "Progress", "check_target", "merge", "plan_merge"]
