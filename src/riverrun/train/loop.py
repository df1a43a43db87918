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
from riverrun.train.passes import passes
from riverrun.train.prefetch import Batches
from riverrun.train.readouts import evaluate_all
from riverrun.train.session import Session
from riverrun.train.signals import StopSignals


class NonFiniteError(RiverrunError):
    """The loss or the gradient is not a finite number, and the recipe says to stop."""

    everywhere = True


def advance(session: Session, stop: float, signals: StopSignals, journal: Journal) -> None:
    """Train from the session's position to `stop`, or until a signal asks any rank to leave."""
    plan, state, engine, ranks = session.plan, session.state, session.engine, session.ranks
    batches = Batches(session.stream, ranks, engine.device)
    signals.agree(ranks.sum(signals.wishes))
    while state.step < stop and signals.agreed is None:
        step = state.step + 1
        batch = batches.take(step)
        own_loss, own_norm = backward(session, batch)
        # All that the ranks must agree on, in one sum.
        own = [own_loss, own_norm**2, journal.save_failed, journal.throughput_due, *signals.wishes]
        loss, squares, failed, throughput_due, *wishes = ranks.sum(own)
        norm = math.sqrt(squares) if state.trainee.layout == "fsdp" else own_norm
        if math.isfinite(loss) and math.isfinite(norm):
            clip_gradients(state.gradients, norm, plan.recipe.optimizer.clip)
            apply_hyperparameters(state.optimizers, plan, step)
            for optimizer in state.optimizers:
                optimizer.step()
        elif plan.recipe.optimizer.on_nonfinite == "skip":
            state.skipped += 1
        else:
            raise NonFiniteError(_describe(session, step, loss, norm))
        for parameter in state.parameters:
            parameter.grad = None
        state.step = step
        if ranks.pulse is not None:
            ranks.pulse.step = step
        if step % plan.recipe.averaging.every == 0:
            state.update_averages()
        readouts = {}
        if plan.readout_due(step):
            readouts = evaluate_all(state, session.windows, engine, ranks)
        journal.step(loss, norm, readouts)
        if plan.checkpoint_due(step):
            journal.checkpoint()
        elif failed:
            journal.settle()
        if throughput_due:
            journal.throughput()
        signals.agree(wishes)


def backward(session: Session, batch: Batch) -> tuple[float, float]:
    """Leave the gradient of the mean loss over the global batch; this rank's (share of that loss, gradient norm).

    The sum over passes and ranks is the same mean however the batch is cut; only the rounding differs.
    """
    state, engine, settings, ranks = session.state, session.engine, session.plan.recipe, session.ranks
    sequences = session.plan.sizes.sequences(state.step + 1)
    targets = sequences * (batch.tokens.shape[1] - 1)
    largest = ranks.largest_share(sequences)
    cut = list(passes(torch.from_numpy(batch.tokens), settings.batch.microbatch or largest, largest))
    total = torch.zeros((), device=engine.device)
    with engine.arithmetic():
        for number, (part, counts) in enumerate(cut, start=1):
            part = part.to(engine.device, non_blocking=True)
            with state.trainee.accumulating(last=number == len(cut)):
                with state.forward_time:
                    loss = state.trainee.objective(part[:, :-1], part[:, 1:]) * (int(counts) / targets)
                loss.backward()
            total += loss.detach()
    return total.item(), norm_of(state.gradients)


def norm_of(gradients: Iterable[Tensor]) -> float:
    """The global norm of gradients, or of shards of them."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients)))).item()


def clip_gradients(gradients: Iterable[Tensor], norm: float, limit: float) -> None:
    """Scale all gradients so that their global norm, which is given, is at most `limit` (0: no limit).

    Unlike `torch.nn.utils.clip_grad_norm_` it leaves gradients within the limit unread a second time.
    """
    if limit and norm > limit:
        torch._foreach_mul_(list(gradients), limit / norm)


def _describe(session: Session, step: int, loss: float, gradient_norm: float) -> str:
    """Position, values, and the documents of the batch: what is needed to find the cause."""
    documents: dict[str, None] = {}
    for sample in session.stream.batch(step).indices:  # of all ranks
        documents |= dict.fromkeys(session.stream.documents(int(sample)))
    return (
        f"update {step}: loss {loss}, gradient norm {gradient_norm}; the checkpoint of position {step - 1} is "
        f"saved. Documents of the batch: {', '.join(documents)}. To leave such updates out and go on: "
        "--set optimizer.on_nonfinite=skip"
    )
