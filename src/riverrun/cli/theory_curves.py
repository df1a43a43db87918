"""The losses of a run as curves that theory can be fitted to."""

from __future__ import annotations

import numpy as np

from riverrun.errors import SettingError
from riverrun.runs import Node
from riverrun.theory.fitting import Curve
from riverrun.train.costs import recorded_plan
from riverrun.train.curves import TRAIN, Losses, binned_training_losses, recorded_losses

_BINS = 40
_FEWEST = 3


def curves_of(node: Node, after: float) -> list[Curve]:
    """The training loss in geometric bins, and every readout's held-out losses, from a share of the run on.

    A curve of fewer than three positions is left out.

    Raises:
        SettingError: nothing was recorded.
    """
    plan = recorded_plan(node)
    recorded = recorded_losses(node)
    if not recorded:
        raise SettingError(f"{node.path}: has no metrics yet; train it first")
    last = int(max(one.steps[-1] for one in recorded))
    rates = plan.recipe.optimizer.peak_lr * plan.schedule(np.arange(1, last + 1))
    summed = np.cumsum(rates)
    first = max(1, round(after * last))

    def curve(losses: Losses) -> Curve:
        index = losses.steps - 1
        text = TRAIN if losses.name == TRAIN else "held-out"
        averaged = losses.name not in (TRAIN, "raw")
        steps = losses.steps.astype(float)
        return Curve(losses.name, steps, summed[index], rates[index], losses.losses, text, averaged)

    found = [
        binned_training_losses(node, first, last, _BINS) if one.name == TRAIN else one.between(first, last)
        for one in recorded
    ]
    return [curve(one) for one in found if one.steps.size >= _FEWEST]
