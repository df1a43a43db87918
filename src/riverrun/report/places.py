"""Positions as the page has them."""

from __future__ import annotations

from riverrun.report import schema
from riverrun.train.plan import Plan


def place(node: str, step: int, plan: Plan) -> schema.Place:
    """A position of a node, in steps and in tokens from the trunk's beginning."""
    return {"node": node, "step": step, "tokens": plan.tokens(step)}
