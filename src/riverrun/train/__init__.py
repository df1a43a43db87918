"""The trainer: recipes, plans, the loop, readouts."""

from riverrun.train.audit import Finding, audit
from riverrun.train.plan import Plan, build_plan
from riverrun.train.progress import Progress, Quiet, Shown
from riverrun.train.recipe import Recipe, load_recipe, parse_recipe
from riverrun.train.session import Session, open_session
from riverrun.train.stretch import Outcome
from riverrun.train.trunk import train

__all__ = [
    "Finding",
    "Outcome",
    "Plan",
    "Progress",
    "Quiet",
    "Recipe",
    "Session",
    "Shown",
    "audit",
    "build_plan",
    "load_recipe",
    "open_session",
    "parse_recipe",
    "train",
]
