"""What `riverrun landscape bigram` shows: which contexts make the progress, and which are curved."""

from __future__ import annotations

from dataclasses import dataclass

from riverrun.errors import SettingError
from riverrun.landscape.bigram import Bigrams, reference_bigrams
from riverrun.landscape.bigram_curvature import TopCurvature, hessian_traces, top_curvature
from riverrun.landscape.bigram_models import Embedding, Tabular
from riverrun.landscape.bigram_training import Training, train_bigrams
from riverrun.landscape.descent import learning_rates
from riverrun.schedules import WSD, Constant
from riverrun.schedules.shapes import Floats

SHORTEST = 20
"""Steps that leave room for an early stretch, a stable phase and a decay."""

EMBEDDING_SHARE = 1 / 8
"""The embedding model's peak LR as a fraction of the tabular model's."""


@dataclass(frozen=True, kw_only=True)
class BigramView:
    """Everything that the table and the figure say.

    Attributes:
        bigrams: the law.
        early: a tenth of the steps; the fast first progress is over by then.
        stable_end: where the decay of WSD starts.
        rates: of WSD in the tabular model, of shape (steps,).
        decayed: the tabular model under WSD.
        constant: the same under a constant rate.
        embedding: the embedding model under WSD, at an eighth of the rates.
        traces: step -> Hessian traces of the tabular model's uncertain and certain rows, under WSD.
        top: the 15 largest curvatures of one embedding model, at the end of its stable phase.
    """

    bigrams: Bigrams
    early: int
    stable_end: int
    rates: Floats
    decayed: Training
    constant: Training
    embedding: Training
    traces: dict[int, tuple[float, float]]
    top: TopCurvature

    @property
    def stretches(self) -> dict[str, tuple[int, int]]:
        """Name -> first and last step of the stretches whose progress is split."""
        return {
            "early": (0, self.early),
            "stable": (self.early, self.stable_end),
            "decay": (self.stable_end, len(self.rates)),
        }


def view_bigrams(*, steps: int, peak: float, seed: int) -> BigramView:
    """Train both models, 8 runs at a time.

    Args:
        steps: of every run.
        peak: peak LR of the tabular model.
        seed: of batches and weights; the law of the bigrams is always the reference's.

    Raises:
        SettingError: too few steps, or a peak LR that is not a positive number or far too high.
    """
    if steps < SHORTEST:
        raise SettingError(f"steps: got {steps}; must be at least {SHORTEST}, so that every phase has some")
    bigrams = reference_bigrams()
    schedule = WSD(budget=steps, decay=0.2, floor=0.0)
    stable_end, end = schedule.boundaries[0]
    early = steps // 10
    rates = learning_rates(schedule, steps=steps, peak=peak)
    every = max(1, steps // 60)
    looked_at = sorted({0, *range(0, steps, every), early, stable_end, end})
    decayed = train_bigrams(bigrams, Tabular(), rates, seed=seed, every=every, keep=looked_at)
    constant = train_bigrams(
        bigrams, Tabular(), learning_rates(Constant(), steps=steps, peak=peak), seed=seed, every=every
    )
    embedding = train_bigrams(
        bigrams,
        Embedding(),
        EMBEDDING_SHARE * rates,
        seed=seed,
        every=every,
        keep=(early, stable_end),
    )
    contexts, nexts = embedding.kept[stable_end]
    return BigramView(
        bigrams=bigrams,
        early=early,
        stable_end=stable_end,
        rates=rates,
        decayed=decayed,
        constant=constant,
        embedding=embedding,
        traces={step: hessian_traces(bigrams, weights[0]) for step, weights in decayed.kept.items()},
        top=top_curvature(bigrams, (contexts[0], nexts[0])),
    )
