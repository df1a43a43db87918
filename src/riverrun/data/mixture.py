"""Which sample of which corpus is the n-th of a stream: segments, mixtures by exact quotas, epochs.

Each corpus has one endless order of its own, epoch after epoch, each epoch another permutation of its
samples. The order depends on the seed and the corpus alone. A mixture only says which corpus is next, so that
a corpus is read in its own order whatever it is mixed with, and a later segment goes on where the segments
before it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from riverrun.data.corpus import Corpus
from riverrun.data.order import permute, round_keys
from riverrun.errors import SettingError

BLOCK = 4096
"""Samples over which a mixture's quotas are met exactly."""


@dataclass(frozen=True)
class Segment:
    """From sample `start_sample` of the stream on: these corpora, in proportion to their weights.

    A weight says how large a part of the samples, and so of the tokens, a corpus gives; weights need not sum
    to 1.
    """

    start_sample: int
    sources: tuple[tuple[Corpus, float], ...]


def block_quotas(weights: Sequence[float]) -> list[int]:
    """Samples of each source in a block, by largest remainder; at least 1 for a positive weight."""
    exact = [Fraction(weight) for weight in weights]
    total = sum(exact)
    shares = [BLOCK * weight / total for weight in exact]
    quotas = [max(int(share), 1 if share else 0) for share in shares]
    by_remainder = sorted(
        range(len(shares)), key=lambda source: shares[source] - quotas[source], reverse=True
    )
    for source in by_remainder[: max(0, BLOCK - sum(quotas))]:
        quotas[source] += 1
    while sum(quotas) > BLOCK:
        # Sources of tiny weight took more than their share: the largest gives it.
        quotas[max(range(len(quotas)), key=lambda source: quotas[source])] -= 1
    return quotas


@dataclass(frozen=True, eq=False)
class Mixture:
    """The samples of one segment.

    Attributes:
        number: the segment's place among the segments, which keys its order of sources.
        seed: the stream's.
        quotas: samples of each source in a block.
    """

    number: int
    seed: int
    quotas: tuple[int, ...]
    _begins: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_begins", np.cumsum(self.quotas))

    def locate(self, index: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Source of each sample, and how many samples that source gave before it in the segment."""
        if len(self.quotas) == 1:
            return np.zeros_like(index), index
        sources, ranks = np.empty_like(index), np.empty_like(index)
        blocks, within = np.divmod(index, BLOCK)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            source_at, rank_at = self._block(block)
            sources[here] = source_at[within[here]]
            ranks[here] = rank_at[within[here]] + block * np.asarray(self.quotas)[sources[here]]
        return sources, ranks

    def consumed(self, length: int) -> list[int]:
        """Samples of each source among the first `length` of the segment."""
        if len(self.quotas) == 1:
            return [length]
        blocks, rest = divmod(length, BLOCK)
        in_rest = np.bincount(self._block(blocks)[0][:rest], minlength=len(self.quotas)).tolist()
        return [blocks * quota + more for quota, more in zip(self.quotas, in_rest, strict=True)]

    def _block(self, block: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return _block_order(self.number, self.seed, self.quotas, block)


@lru_cache(maxsize=16)
def _block_order(
    segment: int, seed: int, quotas: tuple[int, ...], block: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each position of a block: its source, and the number of earlier positions with that source."""
    shuffled = permute(np.arange(BLOCK), BLOCK, round_keys(seed, "block", segment, block))
    sources = np.searchsorted(np.cumsum(quotas), shuffled, side="right")
    ranks = np.empty(BLOCK, np.int64)
    for source, quota in enumerate(quotas):
        ranks[sources == source] = np.arange(quota)
    return sources, ranks


def epoch_order(
    ranks: npt.NDArray[np.int64], samples: int, seed: int, fingerprint: str
) -> npt.NDArray[np.int64]:
    """Index within its corpus of the sample that the corpus gives at each rank of its endless order.

    Args:
        ranks: int64, counted from 0 over all epochs.
        samples: in the corpus.
        seed, fingerprint: of the stream and the corpus.
    """
    index = np.empty_like(ranks)
    epochs, within = np.divmod(ranks, samples)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        index[here] = permute(within[here], samples, round_keys(seed, "epoch", fingerprint, epoch))
    return index


def check_segments(segments: Sequence[Segment]) -> None:
    """`SettingError` for segments, corpora or weights that cannot be a stream."""
    if not segments or segments[0].start_sample != 0:
        raise SettingError("data.segments: the first segment must begin at sample 0")
    for before, segment in pairwise(segments):
        if segment.start_sample <= before.start_sample:
            raise SettingError(
                f"data.segments: a segment at sample {segment.start_sample} follows one at "
                f"{before.start_sample}; append segments with increasing starts"
            )
    for segment in segments:
        weights = [weight for _, weight in segment.sources]
        if not all(np.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
            raise SettingError(
                f"data.weights: got {weights}; give finite weights of at least 0, one of them above 0"
            )
        if len(segment.sources) > BLOCK:
            raise SettingError(
                f"data.corpus: got {len(weights)} corpora in a mixture; at most {BLOCK} are possible"
            )
        named = [corpus.fingerprint for corpus, _ in segment.sources]
        if len(set(named)) < len(named):
            raise SettingError(
                "data.corpus: a mixture names one corpus twice; name it once, with the sum of weights"
            )
