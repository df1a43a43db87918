"""A recipe made concrete: every hyperparameter as a function of the position, and of nothing else.

No method here knows when training stops; that is what makes a trunk extendable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from riverrun.averaging import BlockLayout
from riverrun.data import BatchSizes
from riverrun.errors import SettingError
from riverrun.models import DecoderConfig, count_parameters
from riverrun.schedules import Constant, Schedule
from riverrun.train.grid import GeometricGrid
from riverrun.train.recipe import Batch, Recipe
from riverrun.train.schedule_table import resolve_schedule
from riverrun.train.tabulated import Tabulated
from riverrun.units import TOKENS_PER_PARAMETER, Duration

Built = TypeVar("Built")


@dataclass(frozen=True)
class Plan:
    """What the s-th update uses (`lr(s)`, ...) and what is done at position s (`readout_due(s)`, ...)."""

    recipe: Recipe
    decoder: DecoderConfig
    tokens_per_x: int
    sizes: BatchSizes
    schedule: Schedule
    weight_decay_schedule: Schedule
    readouts: GeometricGrid
    fork_points: GeometricGrid
    named_fork_points: frozenset[int]
    checkpoint_every: int

    def lr(self, step: int) -> float:
        """Learning rate of the `step`-th update."""
        return self.recipe.optimizer.peak_lr * self._multiplier(step)

    def weight_decay(self, step: int) -> float:
        """Weight decay of the `step`-th update (AdamW multiplies it by the learning rate)."""
        return self.recipe.optimizer.weight_decay * self._weight_decay_multiplier(step)

    @cached_property
    def _multiplier(self) -> Tabulated:
        return Tabulated(self.schedule)

    @cached_property
    def _weight_decay_multiplier(self) -> Tabulated:
        return Tabulated(self.weight_decay_schedule)

    @cached_property
    def history(self) -> BlockLayout | None:
        """The blocks of the history, where one is kept."""
        averaging = self.recipe.averaging
        return None if averaging.history is None else averaging.history.layout(averaging.every)

    def tokens(self, step: int) -> int:
        """Tokens trained on when `step` updates are done."""
        return self.sizes.samples(step) * self.decoder.context

    def step_at(self, duration: Duration) -> int:
        """The first position at which so much training is done."""
        return _steps(duration, self.sizes, self.decoder.context, self.tokens_per_x)

    def samples_at(self, duration: Duration) -> int:
        """The number of samples in so much training; where it is no whole number of them, the next one."""
        tokens = _tokens(duration, self.sizes, self.decoder.context, self.tokens_per_x)
        return -(-tokens // self.decoder.context)

    def readout_due(self, step: int) -> bool:
        """Whether a point of the readout grid was reached by the `step`-th update."""
        return self.readouts.crossed(self.tokens(step - 1), self.tokens(step))

    def is_fork_point(self, step: int) -> bool:
        """Whether the checkpoint of this position stays for good."""
        return step in self.named_fork_points or self.fork_points.crossed(
            self.tokens(step - 1), self.tokens(step)
        )

    def checkpoint_due(self, step: int) -> bool:
        """Whether a checkpoint is saved at this position."""
        return step % self.checkpoint_every == 0 or self.is_fork_point(step)


def build_plan(recipe: Recipe, vocabulary: int) -> Plan:
    """Resolve a recipe for a corpus with `vocabulary` tokens; `SettingError` names a setting that cannot be."""
    decoder = _naming("model", lambda: recipe.decoder(vocabulary))
    context = decoder.context
    tokens_per_x = TOKENS_PER_PARAMETER * count_parameters(decoder).non_embedding
    if recipe.one_x is not None:
        if recipe.one_x.unit == "x":
            raise SettingError(f'one_x: got "{recipe.one_x}"; 1x is given in tokens or steps')
        # Before ramps are known, steps mean batches of the first size, as in the published recipes.
        first = BatchSizes(recipe.batch.sequences)
        tokens_per_x = _tokens(recipe.one_x, first, context, tokens_per_x)
        if tokens_per_x < 1:
            raise SettingError(f'one_x: got "{recipe.one_x}"; must be at least one step')
    sizes = _naming("batch", lambda: _batch_sizes(recipe.batch, context, tokens_per_x))

    def steps(duration: Duration) -> int:
        return _steps(duration, sizes, context, tokens_per_x)

    def grid(setting: str, first: Duration, ratio: float) -> GeometricGrid:
        tokens = _tokens(first, sizes, context, tokens_per_x)
        if tokens < 1:
            raise SettingError(f'{setting}.first: got "{first}"; must be at least one step')
        return GeometricGrid(float(tokens), ratio)

    decay_table = recipe.optimizer.weight_decay_schedule
    every = steps(recipe.checkpoints.every)
    if every < 1:
        raise SettingError(f'checkpoints.every: got "{recipe.checkpoints.every}"; must be at least 1 step')
    return Plan(
        recipe=recipe,
        decoder=decoder,
        tokens_per_x=tokens_per_x,
        sizes=sizes,
        schedule=resolve_schedule(recipe.schedule, "schedule", steps),
        weight_decay_schedule=(
            resolve_schedule(decay_table, "optimizer.weight_decay_schedule", steps)
            if decay_table
            else Constant()
        ),
        readouts=grid("readouts", recipe.readouts.first, recipe.readouts.ratio),
        fork_points=grid("checkpoints", recipe.checkpoints.first, recipe.checkpoints.ratio),
        named_fork_points=frozenset(steps(position) for position in recipe.checkpoints.at),
        checkpoint_every=every,
    )


def _batch_sizes(batch: Batch, context: int, tokens_per_x: int) -> BatchSizes:
    """Ramps are resolved one after another: where one begins in steps depends on the batches before it."""
    ramps: list[tuple[int, int]] = []
    sizes = BatchSizes(batch.sequences)
    for ramp in batch.ramps:
        ramps.append((_steps(ramp.at, sizes, context, tokens_per_x) + 1, ramp.sequences))
        sizes = BatchSizes(batch.sequences, ramps)
    return sizes


def _steps(duration: Duration, sizes: BatchSizes, context: int, tokens_per_x: int) -> int:
    if duration.unit == "steps":
        return int(duration.amount)
    samples = -(-duration.tokens(tokens_per_x) // context)
    return sizes.step_reaching(samples)


def _tokens(duration: Duration, sizes: BatchSizes, context: int, tokens_per_x: int) -> int:
    if duration.unit == "steps":
        return sizes.samples(int(duration.amount)) * context
    return duration.tokens(tokens_per_x)


def _naming(section: str, build: Callable[[], Built]) -> Built:
    """Put the table's name before what a component says of its own argument."""
    try:
        return build()
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(f"{section}.{error}") from None
