"""The direction of the update that led to a checkpoint, from the moments that lie in it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from riverrun.landscape.probe.places import Place, checkpoint_of
from riverrun.train.plan import Plan
from riverrun.train.restore import shapes_of


def last_update(place: Place, plan: Plan) -> Tensor | None:
    """AdamW's last step before its weight decay, over minus the learning rate: m / (sqrt(v) + eps), both corrected.

    One vector, in the order of the weights; None where another optimizer trained, or only weights were kept.
    """
    settings, saved = plan.recipe.optimizer, checkpoint_of(place)
    kept = saved.names()
    shapes = shapes_of(plan)
    moments = {
        f"optimizer.{name}.{key}": torch.empty(shape)
        for name, shape in shapes.items()
        for key in ("exp_avg", "exp_avg_sq")
    }
    if settings.name != "adamw" or not moments.keys() <= kept.keys():
        return None
    saved.load_some(moments)
    first, second = (1 - beta**place.step for beta in settings.betas)
    return parameters_to_vector(
        (moments[f"optimizer.{name}.exp_avg"] / first)
        / ((moments[f"optimizer.{name}.exp_avg_sq"] / second).sqrt() + settings.eps)
        for name in shapes
    )
