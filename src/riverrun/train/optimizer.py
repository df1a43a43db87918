"""The optimizers of a recipe, with complete state from the start and hyperparameters set from the position."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from riverrun.models import parameter_kind
from riverrun.train.plan import Plan
from riverrun.train.recipe import Optimizer
from riverrun.train.schedule_free import NAME as SCHEDULE_FREE
from riverrun.train.schedule_free import build_schedule_free


def build_optimizers(model: nn.Module, settings: Optimizer) -> list[torch.optim.Optimizer]:
    """AdamW or Schedule-Free AdamW for everything, or Muon for the hidden matrices and AdamW for the rest.

    Weight decay goes to matrices and embeddings, never to norms. Muon's update is scaled to AdamW's root mean
    square (`match_rms_adamw`), so one peak LR serves both.
    """
    matrices: list[Tensor] = []
    embeddings: list[Tensor] = []
    norms: list[Tensor] = []
    kinds = {"matrix": matrices, "embedding": embeddings, "norm": norms}
    for name, parameter in model.named_parameters():
        kinds[parameter_kind(name)].append(parameter)

    adamw_decayed = embeddings if settings.name == "muon" else [*matrices, *embeddings]
    groups = [
        {"params": adamw_decayed, "decayed": True},
        {"params": norms, "decayed": False, "weight_decay": 0.0},
    ]
    if settings.name == SCHEDULE_FREE:
        return [build_schedule_free(groups, settings)]
    adamw = torch.optim.AdamW(
        groups,
        lr=settings.peak_lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if settings.name == "muon":
        muon = torch.optim.Muon(
            [{"params": matrices, "decayed": True}],
            lr=settings.peak_lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        optimizers.append(muon)
    for optimizer in optimizers:
        _complete_state(optimizer)
    return optimizers


def apply_hyperparameters(optimizers: list[torch.optim.Optimizer], plan: Plan, step: int) -> None:
    """Write the LR and weight decay of the `step`-th update into every group, right before that update."""
    lr, weight_decay = plan.lr(step), plan.weight_decay(step)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
            if group["decayed"]:
                group["weight_decay"] = weight_decay


def optimizer_tensors(
    model: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> Iterator[tuple[str, Tensor]]:
    """Every state tensor under its parameter's name, as in `blocks.0.mlp.down.weight.exp_avg`."""
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                yield f"{name}.{key}", value


def _complete_state(optimizer: torch.optim.Optimizer) -> None:
    """Make now the state that the optimizer would make at its first update.

    A checkpoint is then complete at every position, the first included, and loading has tensors to fill.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            zeros = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            if isinstance(optimizer, torch.optim.Muon):
                optimizer.state[parameter] = {"momentum_buffer": zeros}
            else:
                count = torch.zeros((), dtype=torch.float32, device=parameter.device)
                optimizer.state[parameter] = {
                    "step": count,
                    "exp_avg": zeros,
                    "exp_avg_sq": torch.zeros_like(zeros),
                }
