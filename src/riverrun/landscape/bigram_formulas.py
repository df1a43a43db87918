"""What the tabular bigram model's arithmetic says about each kind of context."""

from __future__ import annotations

import numpy as np

from riverrun.landscape.bigram import Bigrams
from riverrun.landscape.bigram_training import BATCH


def stationary_uncertain(bigrams: Bigrams, rate: float) -> float:
    """L_U at a constant rate, once it no longer falls: (eta / 4B) sum_U pi_i (1 - ||p_i||^2).

    The hill: the noise of the batches keeps the rows of uncertain contexts above their best values.
    """
    rows = slice(bigrams.uncertain)
    spread = 1 - (bigrams.following[rows] ** 2).sum(axis=1)
    return float(rate / (4 * BATCH) * np.sum(bigrams.contexts[rows] * spread))


def remaining_certain(bigrams: Bigrams, rates_sum: float) -> float:
    """L_D after rates of that sum: n_D (V - 1) / (V sum(eta)), approached from above.

    The river: a row with one next token only ever moves toward it, and ever more slowly.
    """
    certain = bigrams.tokens - bigrams.uncertain
    return certain * (bigrams.tokens - 1) / (bigrams.tokens * rates_sum)
