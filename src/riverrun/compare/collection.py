"""What the runs of a comparison measured, read from the trees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from riverrun.compare.arms import Design, Model
from riverrun.compare.results import Method, Reading, Result
from riverrun.compare.runs import Key, Stretch, plan_of, runs_for, union_tokens, way
from riverrun.runs import Tree
from riverrun.runs.metrics import Record

# Points of a learning-rate curve, enough for a figure.
_DRAWN = 240


def collect(design: Design, models: Sequence[Model], folder: Path) -> list[Result]:
    """One result per model and readout of its arm; a loss that was never measured is NaN."""
    records = _Records(folder, design.vocabulary, {run.key: run.stops for run in runs_for(models)})
    methods: dict[str, list[Method]] = {}
    for method in design.methods():
        methods.setdefault(method.arm, []).append(method)
    results = []
    for model in models:
        siblings = design.models(model.arm, model.point, model.seed)
        total = union_tokens(siblings[: _number(siblings, model) + 1], design.vocabulary)
        results += [_result(design, model, method, total, records) for method in methods[model.arm]]
    return results


def _number(siblings: Sequence[Model], model: Model) -> int:
    return next(number for number, sibling in enumerate(siblings) if sibling.budget == model.budget)


def _result(design: Design, model: Model, method: Method, total: int, records: _Records) -> Result:
    stretches = way(model)
    passed = [record for stretch in stretches for record in records.within(stretch)]
    key = f"loss/{method.readout}"
    last = passed[-1] if passed and passed[-1]["step"] == model.end else {}
    lrs, tokens = _learning_rates(stretches, design.vocabulary)
    drawn = np.unique(np.linspace(0, len(lrs) - 1, num=min(_DRAWN, len(lrs))).astype(np.int64))
    before = [r for r in passed if r["step"] == model.decay_start and "loss/raw" in r]
    return Result(
        method=method.name,
        budget=model.budget,
        seed=model.seed,
        point=model.point,
        step=model.end,
        tokens=int(tokens[-1]),
        total_tokens=total,
        loss=last.get(key, math.nan),
        select=last.get(f"select/{method.readout}", math.nan),
        mean_lr=float(lrs.mean()),
        curve=tuple(Reading(r["step"], r["tokens"], r[key]) for r in passed if key in r),
        before_decay=Reading(before[0]["step"], before[0]["tokens"], before[0]["loss/raw"])
        if before
        else None,
        lrs=tuple((int(tokens[i]), float(lrs[i])) for i in drawn),
    )


class _Records:
    """The readouts of nodes, each node read once.

    Only those that the plan asks for, on the grid and at its stops: others were made for another plan or by hand, and
    the figure and the claims shall not depend on them.
    """

    def __init__(self, folder: Path, vocabulary: int, stops: Mapping[Key, tuple[int, ...]]) -> None:
        self._folder = folder
        self._vocabulary = vocabulary
        self._stops = stops
        self._read = lru_cache(maxsize=None)(self._of_node)

    def within(self, stretch: Stretch) -> Iterator[Record]:
        """Records of the positions after the start of a stretch up to its end."""
        plan, stops = plan_of(stretch.recipe, self._vocabulary), self._stops[stretch.key]
        for record in self._read(*stretch.key):
            step = record["step"]
            if stretch.start < step <= stretch.end and (step in stops or plan.readout_due(step)):
                yield record

    def _of_node(self, tree: str, name: str) -> list[Record]:
        at = Tree(self._folder / tree)
        node = at.trunk if name == "trunk" else at.branch(name)
        return node.readouts() if node.exists else []


def _learning_rates(
    stretches: Iterable[Stretch], vocabulary: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of every update on the way: its learning rate, and the tokens trained on when it is done."""
    lrs, tokens = [], []
    for stretch in stretches:
        plan = plan_of(stretch.recipe, vocabulary)
        steps = np.arange(stretch.start + 1, stretch.end + 1)
        lrs.append(plan.recipe.optimizer.peak_lr * plan.schedule(steps))
        sizes = (
            np.array([plan.sizes.sequences(int(step)) for step in steps])
            if plan.recipe.batch.ramps
            else (np.full(len(steps), plan.recipe.batch.sequences))
        )
        tokens.append(plan.tokens(stretch.start) + np.cumsum(sizes) * plan.decoder.context)
    return np.concatenate(lrs), np.concatenate(tokens)
