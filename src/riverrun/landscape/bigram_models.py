"""Two models of bigrams: a table of logits, and token embeddings with an output layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from riverrun.landscape.bigram import Bigrams, Tokens
from riverrun.schedules.shapes import Floats

Weights = tuple[Floats, ...]
"""The parameters of many runs at once; the first axis of each array counts the runs."""


class Model(Protocol):
    """What training needs: logits from weights, and a step against their gradient."""

    def start(self, bigrams: Bigrams, runs: int, random: np.random.Generator) -> Weights:
        """Weights before the first update."""

    def logits(self, weights: Weights) -> Floats:
        """A row for each context; of shape (runs, V, V)."""

    def rows(self, weights: Weights, contexts: Tokens) -> Floats:
        """The rows of some contexts; contexts of shape (runs, batch), rows of shape (runs, batch, V)."""

    def step(self, weights: Weights, contexts: Tokens, errors: Floats, rate: float) -> None:
        """Go against the gradient, in place; `errors` is that of the mean loss with respect to the rows."""


@dataclass(frozen=True)
class Tabular:
    """A logit of its own for every pair of tokens, zero at the start. A context's row meets no other context."""

    def start(self, bigrams: Bigrams, runs: int, random: np.random.Generator) -> Weights:
        """Zeros, of shape (runs, V, V)."""
        return (np.zeros((runs, bigrams.tokens, bigrams.tokens)),)

    def logits(self, weights: Weights) -> Floats:
        """The table itself."""
        return weights[0]

    def rows(self, weights: Weights, contexts: Tokens) -> Floats:
        """Rows of the table."""
        return weights[0][np.arange(len(contexts))[:, None], contexts]

    def step(self, weights: Weights, contexts: Tokens, errors: Floats, rate: float) -> None:
        """Each row moves by its own errors."""
        np.subtract.at(weights[0], (np.arange(len(contexts))[:, None], contexts), rate * errors)


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Logits E W^T: a vector for every token as a context (E) and one as the next token (W), of shape (runs, V, dims).

    Attributes:
        dims: of the vectors.
        spread: the standard deviation of their components at the start.
    """

    dims: int = 24
    spread: float = 0.3

    def start(self, bigrams: Bigrams, runs: int, random: np.random.Generator) -> Weights:
        """Normal components."""
        shape = (runs, bigrams.tokens, self.dims)
        return self.spread * random.standard_normal(shape), self.spread * random.standard_normal(shape)

    def logits(self, weights: Weights) -> Floats:
        """E W^T."""
        contexts, nexts = weights
        return contexts @ nexts.swapaxes(-1, -2)

    def rows(self, weights: Weights, contexts: Tokens) -> Floats:
        """Rows of E W^T."""
        vectors, nexts = weights
        return vectors[np.arange(len(contexts))[:, None], contexts] @ nexts.swapaxes(-1, -2)

    def step(self, weights: Weights, contexts: Tokens, errors: Floats, rate: float) -> None:
        """Both layers at once, from the values that they have before it."""
        vectors, nexts = weights
        where = (np.arange(len(contexts))[:, None], contexts)
        used = vectors[where]
        np.subtract.at(vectors, where, rate * (errors @ nexts))
        nexts -= rate * (errors.swapaxes(-1, -2) @ used)
