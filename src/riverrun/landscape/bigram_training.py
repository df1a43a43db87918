"""Training on bigrams drawn one batch after another, many runs at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from riverrun.errors import SettingError
from riverrun.landscape.bigram import Bigrams, log_softmax
from riverrun.landscape.bigram_models import Model, Weights
from riverrun.landscape.noise import generator
from riverrun.schedules.shapes import Floats

BATCH = 16
"""Pairs of tokens in a batch."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training came to; losses are excess losses in nats, means over the runs.

    Attributes:
        steps: when the losses were taken, 0 and the last step among them; of shape (times,).
        uncertain: L_U, of shape (times,).
        certain: L_D, of shape (times,).
        kept: step -> the weights of all runs after it.
    """

    steps: Floats
    uncertain: Floats
    certain: Floats
    kept: dict[int, Weights]

    def fall(self, start: int, end: int) -> tuple[float, float]:
        """How far L_U and L_D fell between two of the steps.

        Raises:
            ValueError: the losses were not taken at one of them.
        """
        if missing := {start, end} - set(self.steps.tolist()):
            raise ValueError(f"no losses were taken at step {min(missing)}")
        first, last = np.searchsorted(self.steps, (start, end))
        return (
            float(self.uncertain[first] - self.uncertain[last]),
            float(self.certain[first] - self.certain[last]),
        )


def train_bigrams(
    bigrams: Bigrams,
    model: Model,
    rates: Floats,
    *,
    runs: int = 8,
    seed: int = 0,
    every: int = 100,
    keep: Collection[int] = (),
) -> Training:
    """Plain SGD with batches of 16.

    Args:
        bigrams: the law that batches are drawn from; the losses are expectations over it.
        model: what is trained.
        rates: of the updates, of shape (steps,).
        runs: how many at a time, all with batches of their own.
        seed: of the weights and the batches.
        every: how many steps lie between two losses.
        keep: steps whose weights are kept; the losses are taken there too.

    Raises:
        SettingError: the weights have become infinite, the rates are too high; a negative seed.
    """
    random = generator(seed)
    weights = model.start(bigrams, runs, random)
    last = len(rates)
    losses: dict[int, tuple[float, float]] = {}
    kept: dict[int, Weights] = {}
    for step in range(last + 1):
        # Weights that grow without bounds end in one error, not in a warning for every operation.
        with np.errstate(over="ignore", invalid="ignore"):
            if step:
                _update(bigrams, model, weights, float(rates[step - 1]), runs, random)
            if step % every == 0 or step == last or step in keep:
                excess = bigrams.excess(model.logits(weights))
                losses[step] = float(excess.uncertain.mean()), float(excess.certain.mean())
        if not np.isfinite(losses.get(step, 0.0)).all():
            raise SettingError(
                f"peak LR: got {rates.max():g} for the {type(model).__name__.lower()} model; "
                f"its weights are infinite by step {step}. Choose a lower one"
            )
        if step in keep:
            kept[step] = tuple(array.copy() for array in weights)
    uncertain, certain = np.array(list(losses.values())).T
    return Training(steps=np.array(list(losses)), uncertain=uncertain, certain=certain, kept=kept)


def _update(
    bigrams: Bigrams, model: Model, weights: Weights, rate: float, runs: int, random: np.random.Generator
) -> None:
    contexts, nexts = bigrams.draw((runs, BATCH), random)
    errors = np.exp(log_softmax(model.rows(weights, contexts)))
    errors[np.arange(runs)[:, None], np.arange(BATCH), nexts] -= 1
    model.step(weights, contexts, errors / BATCH, rate)
