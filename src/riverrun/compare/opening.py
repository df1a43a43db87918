"""Making a plan concrete on this machine: its corpus's vocabulary, and how many workers it gets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from riverrun.compare.arms import Design
from riverrun.compare.plan import ComparisonPlan, base_recipe
from riverrun.errors import CorpusError, SettingError, nearest
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
    names = [method.name for method in design.methods()]
    if plan.baseline not in names:
        raise SettingError(
            f"baseline: got {plan.baseline!r}; must be a row of the table{nearest(plan.baseline, names)}"
        )
    for arm in plan.arms:
        for point in plan.points(arm):
            design.models(arm, point, plan.seeds[0])
    return design


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a run takes of this machine, and so how many find room at a time.

    Attributes:
        threads: of each run.
        devices: names of the GPUs to deal out, one a run; empty on a CPU.
        workers: the plan's number, or as many as there are GPUs, or as the cores serve.
    """

    threads: int
    devices: tuple[str, ...]
    workers: int


def room_for(design: Design) -> Room:
    """The room of a plan on this machine."""
    engine = settle(design.recipe)[0].engine
    assert isinstance(engine.threads, int)
    devices: tuple[str, ...] = ()
    if engine.device == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = tuple(visible.split(",")) if visible else tuple(map(str, range(torch.cuda.device_count())))
    fitting = len(devices) or max(1, (os.cpu_count() or 1) // engine.threads)
    workers = fitting if design.plan.workers == "auto" else design.plan.workers
    return Room(threads=engine.threads, devices=devices, workers=workers)
