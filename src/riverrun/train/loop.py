"""The training loop: what is done from one position to the next, in order."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from riverrun.data import Batch
from riverrun.errors import RiverrunError
from riverrun.train.journal import Journal
from riverrun.train.optimizer import apply_hyperparameters
from riverrun.train.readouts import evaluate_all
from riverrun.train.session import Session
from riverrun.train.signals import StopSignals


class NonFiniteError(RiverrunError):
    """The loss or the gradient is not a finite number, and the recipe says to stop."""


def advance(session: Session, stop: float, signals: StopSignals, journal: Journal) -> None:
    """Train from the session's position to `stop`, or until a signal asks to leave."""
    plan, state, stream, engine = session.plan, session.state, session.stream, session.engine
    while state.step < stop and signals.received is None:
        step = state.step + 1
        batch = stream.batch(step)
        loss, gradient_norm = backward(session, batch)
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            apply_hyperparameters(state.optimizers, plan, step)
            for optimizer in state.optimizers:
                optimizer.step()
        elif plan.recipe.optimizer.on_nonfinite == "skip":
            state.skipped += 1
        else:
            raise NonFiniteError(_describe(session, step, batch, loss, gradient_norm))
        for parameter in state.parameters:
            parameter.grad = None
        state.step = step
        if step % plan.recipe.averaging.every == 0:
            state.update_averages()
        readouts = {}
        if plan.readout_due(step):
            readouts = evaluate_all(state, session.windows, engine)
        journal.step(loss, gradient_norm, readouts)
        if plan.checkpoint_due(step):
            journal.checkpoint()


def backward(session: Session, batch: Batch) -> tuple[float, float]:
    """Leave the gradient of the mean loss over the global batch, clipped; (loss, gradient norm before clipping).

    The sum over microbatches is the same mean whatever their size; only the rounding differs.
    """
    state, engine, settings = session.state, session.engine, session.plan.recipe
    tokens = torch.from_numpy(batch.tokens)
    targets = tokens.shape[0] * (tokens.shape[1] - 1)
    total = torch.zeros((), device=engine.device)
    with engine.arithmetic():
        for part in tokens.split(settings.batch.microbatch or tokens.shape[0]):
            part = part.to(engine.device, non_blocking=True)
            loss = state.model.loss(part[:, :-1], part[:, 1:], reduction="sum") / targets
            loss.backward()
            total += loss.detach()
    return total.item(), clip_gradients(state.parameters, settings.optimizer.clip)


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> float:
    """Scale all gradients so that their global norm is at most `limit` (0: no limit); the norm before.

    Unlike `torch.nn.utils.clip_grad_norm_` it leaves gradients within the limit unread a second time.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))).item()
    if limit and norm > limit:
        torch._foreach_mul_(gradients, limit / norm)
    return norm


def _describe(session: Session, step: int, batch: Batch, loss: float, gradient_norm: float) -> str:
    """Position, values, and the documents of the batch: what is needed to find the cause."""
    documents: dict[str, None] = {}
    for sample in batch.indices:
        documents |= dict.fromkeys(session.stream.documents(int(sample)))
    return (
        f"update {step}: loss {loss}, gradient norm {gradient_norm}; the checkpoint of position {step - 1} is "
        f"saved. Documents of the batch: {', '.join(documents)}. To leave such updates out and go on: "
        "--set optimizer.on_nonfinite=skip"
    )
