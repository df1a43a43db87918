"""The losses of a run as curves that theory can be fitted to."""

from __future__ import annotations

import numpy as np

from riverrun.errors import SettingError
from riverrun.runs import Node
from riverrun.runs.metrics import read_records
from riverrun.theory.fitting import Curve
from riverrun.theory.spectrum import Floats
from riverrun.train.costs import recorded_plan
from riverrun.train.readouts import readout_names

_BINS = 40
_FEWEST = 3


def curves_of(node: Node, after: float) -> list[Curve]:
    """The training loss in geometric bins, and every readout's held-out losses, from a share of the run on.

    Batches differ far more than neighbouring positions do, so training losses are averaged within each bin. A readout
    of fewer than three positions is left out.

    Raises:
        SettingError: nothing was recorded.
    """
    plan = recorded_plan(node)
    records = read_records(node.metrics_path)
    if not records:
        raise SettingError(f"{node.path}: has no metrics yet; train it first")
    last = int(max(record["step"] for record in (*records, *node.readouts())))
    rates = plan.recipe.optimizer.peak_lr * plan.schedule(np.arange(1, last + 1))
    summed = np.cumsum(rates)
    first = max(1, round(after * last))

    def curve(name: str, steps: Floats, losses: Floats, text: str, averaged: bool) -> Curve:
        index = steps.astype(int) - 1
        return Curve(name, steps, summed[index], rates[index], losses, text, averaged)

    found = []
    losses = [(r["step"], r["loss/train"]) for r in records if r.get("loss/train") is not None]
    train = np.array([point for point in losses if point[0] >= first])
    if len(train) >= _FEWEST:
        found.append(curve("train", *_binned(train), "train", averaged=False))
    readouts = [record for record in node.readouts() if record["step"] >= first]
    for name in dict.fromkeys(name for record in readouts for name in readout_names(record)):
        pairs = np.array([(r["step"], r[f"loss/{name}"]) for r in readouts if f"loss/{name}" in r])
        if len(pairs) >= _FEWEST:
            found.append(curve(name, pairs[:, 0].astype(float), pairs[:, 1], "held-out", name != "raw"))
    return found


def _binned(points: Floats) -> tuple[Floats, Floats]:
    """Means of losses in geometric bins of steps; each stands at the mean of its steps."""
    steps, losses = points.T
    edges = np.geomspace(steps[0], steps[-1] + 1, _BINS + 1)
    bins = np.digitize(steps, edges)
    kept = np.unique(bins)
    return (
        np.array([np.rint(steps[bins == k].mean()) for k in kept]),
        np.array([losses[bins == k].mean() for k in kept]),
    )
