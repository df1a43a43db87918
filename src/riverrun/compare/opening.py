"""Making a plan concrete on this machine: its corpus's vocabulary, and how many workers it gets."""

from __future__ import annotations

import os
from collections.abc import Callable

from riverrun.compare.arms import Design
from riverrun.compare.plan import ComparisonPlan, base_recipe
from riverrun.errors import CorpusError
from riverrun.train.engine import settle
from riverrun.train.sources import open_sources

# What stands in for the vocabulary of a corpus that is not there yet and whose size no setting gives away.
_USUAL_VOCABULARY = 32_000


def open_design(plan: ComparisonPlan, without_corpus: Callable[[str], object] | None = None) -> Design:
    """The plan for its corpus's vocabulary; every arm is built once, so that what cannot be is told here.

    Args:
        plan: what to compare.
        without_corpus: told when the corpus is not there and a usual vocabulary stands in for its own; None makes
            that an error.
    """
    recipe = base_recipe(plan)
    try:
        vocabulary = open_sources(recipe.data)[0][0].vocabulary
    except CorpusError as error:
        if without_corpus is None:
            raise
        vocabulary = recipe.model.get("embedding_rows", _USUAL_VOCABULARY)
        without_corpus(f"{error}; taking a vocabulary of {vocabulary:,} for the estimate")
    design = Design(plan, vocabulary)
    design.methods()
    for arm in plan.arms:
        for point in plan.points(arm):
            design.models(arm, point, plan.seeds[0])
    return design


def worker_count(design: Design) -> int:
    """The plan's number of workers, or as many as the cores serve."""
    if design.plan.workers != "auto":
        return design.plan.workers
    return max(1, (os.cpu_count() or 1) // threads_of(design))


def threads_of(design: Design) -> int:
    """Threads that each run takes on this machine."""
    threads = settle(design.recipe)[0].engine.threads
    assert isinstance(threads, int)
    return threads
