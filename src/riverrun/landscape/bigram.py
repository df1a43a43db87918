"""The bigram toy: predict the next token from the last one, where some tokens leave it open and others do not."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from riverrun.schedules.shapes import Floats

Tokens = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Bigrams:
    """A law of (context, next token) over V tokens; the first `uncertain` contexts leave the next token open.

    Attributes:
        contexts: pi_i, the probability of each context; of shape (V,).
        following: p_i, the law of the next token after each; of shape (V, V), rows sum to 1.
        uncertain: how many contexts have more than one next token.
    """

    contexts: Floats = field(repr=False)
    following: Floats = field(repr=False)
    uncertain: int

    @property
    def tokens(self) -> int:
        """V, the size of the vocabulary."""
        return len(self.contexts)

    @property
    def entropies(self) -> Floats:
        """The entropy of each row of `following` in nats: the loss that nobody can go below; of shape (V,)."""
        logarithms = np.log(np.where(self.following > 0, self.following, 1.0))
        return -(self.following * logarithms).sum(axis=1)

    def draw(self, shape: tuple[int, ...], random: np.random.Generator) -> tuple[Tokens, Tokens]:
        """Contexts and their next tokens, drawn independently, both of the shape asked for."""
        cumulative = np.cumsum(self.contexts[:, None] * self.following)
        drawn = random.random(shape) * cumulative[-1]
        pairs = np.searchsorted(cumulative, drawn, side="right")
        return pairs // self.tokens, pairs % self.tokens

    def excess(self, logits: Floats) -> Excess:
        """How far the loss of predictions lies above the entropy, over each kind of context.

        Args:
            logits: of shape (runs, V, V): for each run a row per context.
        """
        cross = -(self.following * log_softmax(logits)).sum(axis=-1)
        shares = self.contexts * (cross - self.entropies)
        return Excess(
            uncertain=shares[..., : self.uncertain].sum(axis=-1),
            certain=shares[..., self.uncertain :].sum(axis=-1),
        )


@dataclass(frozen=True, kw_only=True)
class Excess:
    """Expected loss above the entropy in nats, split by the kind of context; the two add up.

    Attributes:
        uncertain: L_U, over contexts with several next tokens; per run, of shape (runs,).
        certain: L_D, over contexts with one; of shape (runs,).
    """

    uncertain: Floats
    certain: Floats


def reference_bigrams(seed: int = 0, *, tokens: int = 64, uncertain: int = 8) -> Bigrams:
    """The reference law: half of the probability on the uncertain contexts, by Zipf's law within each kind.

    The next token after an uncertain context is drawn from Dirichlet(3), which gives every token some
    probability; after any other it is one token, drawn at random.
    """
    random = np.random.default_rng(seed)
    following = np.zeros((tokens, tokens))
    following[:uncertain] = random.dirichlet(np.full(tokens, 3.0), uncertain)
    following[np.arange(uncertain, tokens), random.integers(tokens, size=tokens - uncertain)] = 1.0
    contexts = np.concatenate([_zipf(uncertain), _zipf(tokens - uncertain)]) / 2
    return Bigrams(contexts=contexts, following=following, uncertain=uncertain)


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of the probabilities along the last axis."""
    centred = logits - logits.max(axis=-1, keepdims=True)
    return centred - np.log(np.exp(centred).sum(axis=-1, keepdims=True))


def _zipf(count: int) -> Floats:
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()
