"""What a recipe will cost before it runs: parameters, FLOPs, memory, disk, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch

from riverrun.models import count_parameters, training_flops_per_token
from riverrun.train.engine import Engine
from riverrun.train.memory import Memory, block_bytes, memory_of
from riverrun.train.plan import Plan

# A model of so many parameters is timed itself; for a larger one the processor's matrix rate stands in.
_TIMED_UP_TO = 20_000_000
# The share of that rate that training reaches at sizes where matrix products dominate.
_USUAL_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Costs of a plan: counts in parameters, disk in bytes, time in seconds.

    `checkpoints_kept`, `blocks_kept`, `block_disk` and `seconds` are for the position `step`; all else does not depend
    on it. Blocks are the closed ones of a history, which checkpoints share.
    """

    step: int
    tokens: int
    parameters: int
    non_embedding_parameters: int
    tokens_per_x: int
    flops_per_token: float
    memory: Memory
    checkpoints_kept: int
    blocks_kept: int
    block_disk: int
    tokens_per_second: float
    timed: bool

    @property
    def flops(self) -> float:
        """Model FLOPs of the whole stretch."""
        return self.flops_per_token * self.tokens

    @property
    def disk(self) -> int:
        """All checkpoints kept at `step`, with the blocks of their histories."""
        return self.memory.checkpoint * self.checkpoints_kept + self.block_disk

    @property
    def seconds(self) -> float:
        """Training time from the start to `step` on this machine."""
        return self.tokens / self.tokens_per_second


def estimate(plan: Plan, engine: Engine, step: int) -> Estimate:
    """The costs of training `plan` up to position `step` on this machine; times a few real steps or products."""
    counts = count_parameters(plan.decoder)
    flops_per_token = training_flops_per_token(plan.decoder)
    timed = counts.total <= _TIMED_UP_TO
    rate = (
        timed_tokens_per_second(plan, engine)
        if timed
        else _USUAL_SHARE * matrix_rate(engine) / flops_per_token
    )
    kept = kept_positions(plan, step)
    blocks = {
        span for position in kept for span in (plan.history.spans(position) if plan.history else [])[:-1]
    }
    return Estimate(
        step=step,
        tokens=plan.tokens(step),
        parameters=counts.total,
        non_embedding_parameters=counts.non_embedding,
        tokens_per_x=plan.tokens_per_x,
        flops_per_token=flops_per_token,
        memory=memory_of(plan),
        checkpoints_kept=len(kept),
        blocks_kept=len(blocks),
        block_disk=sum(block_bytes(plan, oldest=begin == 0) for begin, _ in blocks),
        tokens_per_second=rate,
        timed=timed,
    )


def kept_positions(plan: Plan, step: int) -> set[int]:
    """The positions whose checkpoints are there at `step`; several points of a fine grid may fall into one step."""
    points = plan.fork_points.points(plan.tokens(step))
    forks = {plan.sizes.step_reaching(-(-point // plan.decoder.context)) for point in points}
    forks |= {position for position in plan.named_fork_points if 0 < position <= step}
    every, keep = plan.checkpoint_every, plan.recipe.checkpoints.keep
    last = step // every * every
    recent = {step, *(position for position in range(last, last - keep * every, -every) if position > 0)}
    return forks | set(sorted(forks | recent)[-keep:])


def timed_tokens_per_second(plan: Plan, engine: Engine) -> float:
    """Tokens per second of real updates on random tokens: the median of a few, after a warm-up."""
    from riverrun.train.loop import clip_gradients, norm_of
    from riverrun.train.session import new_state

    state = new_state(plan, engine)
    sequences = min(plan.sizes.sequences(1), plan.recipe.batch.microbatch or plan.sizes.sequences(1))
    tokens = torch.randint(
        plan.decoder.vocabulary, (sequences, plan.decoder.context + 1), device=engine.device
    )

    def update() -> None:
        with engine.arithmetic():
            (state.trainee.objective(tokens[:, :-1], tokens[:, 1:]) / tokens[:, 1:].numel()).backward()
        norm = norm_of(state.gradients)  # waits for the device, as in training
        clip_gradients(state.gradients, norm, plan.recipe.optimizer.clip)
        for optimizer in state.optimizers:
            optimizer.step()
        state.model.zero_grad()
        state.step += 1
        state.update_averages()

    return sequences * plan.decoder.context / median(_timings(update, warmup=4, counted=20))


def matrix_rate(engine: Engine, size: int = 2048) -> float:
    """FLOP/s of a square matrix product in the engine's precision."""
    left, right = torch.randn(2, size, size, device=engine.device)

    def product() -> None:
        with engine.arithmetic():
            (left @ right)[0, 0].item()

    return 2 * size**3 / median(_timings(product, warmup=2, counted=5))


def _timings(work: Callable[[], None], warmup: int, counted: int) -> Iterator[float]:
    for number in range(warmup + counted):
        start = time.perf_counter()
        work()
        if number >= warmup:
            yield time.perf_counter() - start
