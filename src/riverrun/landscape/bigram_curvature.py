"""The Hessian of a bigram model's expected loss, split by the kind of context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riverrun.landscape.bigram import Bigrams, log_softmax
from riverrun.landscape.bigram_models import Weights
from riverrun.schedules.shapes import Floats


def hessian_traces(bigrams: Bigrams, logits: Floats) -> tuple[float, float]:
    """The traces over the rows of uncertain and of certain contexts, in the tabular model; means over runs.

    The Hessian of row i is pi_i (diag q_i - q_i q_i^T), q_i the model's probabilities; its trace is
    pi_i (1 - ||q_i||^2).

    Args:
        bigrams: the law.
        logits: of shape (runs, V, V).
    """
    squares = np.exp(2 * log_softmax(logits)).sum(axis=-1)
    traces = (bigrams.contexts * (1 - squares)).mean(axis=0)
    return float(traces[: bigrams.uncertain].sum()), float(traces[bigrams.uncertain :].sum())


@dataclass(frozen=True, kw_only=True)
class TopCurvature:
    """The largest eigenvalues of the embedding model's Hessian.

    Attributes:
        eigenvalues: from the largest on, of shape (count,).
        uncertain: for each eigenvector v the part v^T H_U v of its eigenvalue that comes from uncertain
            contexts; of shape (count,).
    """

    eigenvalues: Floats
    uncertain: Floats

    @property
    def uncertain_share(self) -> float:
        """The part of all these eigenvalues together that comes from uncertain contexts."""
        return float(self.uncertain.sum() / self.eigenvalues.sum())


def embedding_hessian_product(
    bigrams: Bigrams, weights: Weights, direction: Weights, which: Floats
) -> Weights:
    """The Hessian of the expected loss of some contexts, of one run of the embedding model, times a direction.

    With logits Z = E W^T and direction (dE, dW) the change of the loss' gradient G with respect to Z is
    dG = pi (diag q - q q^T) dZ, and the product is (dG W + G dW, dG^T E + G^T dE).

    Args:
        bigrams: the law.
        weights: E and W, both of shape (V, dims).
        direction: of the same shapes.
        which: 1 for the contexts that count, 0 for others; of shape (V,).
    """
    contexts, nexts = weights
    along_contexts, along_nexts = direction
    predicted = np.exp(log_softmax(contexts @ nexts.T))
    scale = (which * bigrams.contexts)[:, None]
    gradient = scale * (predicted - bigrams.following)
    change = along_contexts @ nexts.T + contexts @ along_nexts.T
    weighted = predicted * change
    turned = scale * (weighted - predicted * weighted.sum(axis=1, keepdims=True))
    return (
        turned @ nexts + gradient @ along_nexts,
        turned.T @ contexts + gradient.T @ along_contexts,
    )


def top_curvature(bigrams: Bigrams, weights: Weights, count: int = 15) -> TopCurvature:
    """The `count` largest eigenvalues at the weights of one run, by Lanczos iteration; scipy is needed.

    Args:
        bigrams: the law.
        weights: E and W, both of shape (V, dims).
        count: how many.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    every = np.ones(bigrams.tokens)
    uncertain = (np.arange(bigrams.tokens) < bigrams.uncertain).astype(float)
    shape = weights[0].shape

    def product(flat: Floats, which: Floats) -> Floats:
        first, second = flat.reshape(2, *shape)
        done = embedding_hessian_product(bigrams, weights, (first, second), which)
        return np.concatenate([part.ravel() for part in done])

    size = 2 * weights[0].size
    operator = LinearOperator((size, size), matvec=lambda flat: product(flat, every), dtype=np.float64)
    # Lanczos starts from a random vector otherwise, and the last digits differ from call to call.
    values, vectors = eigsh(operator, k=count, which="LA", v0=np.random.default_rng(0).standard_normal(size))
    order = np.argsort(values)[::-1]
    parts = [vector @ product(vector, uncertain) for vector in vectors.T[order]]
    return TopCurvature(eigenvalues=np.asarray(values[order]), uncertain=np.array(parts))
