"""Training data as an index: what the batch of an update holds is a pure function of its number.

A sample is `context` + 1 tokens of the train split, beginning `context` tokens after the one before it, so
that every token but the first is a target once in an epoch. Samples of the stream are numbered from 0; the
position in the data is that number, not a count of steps, so that another batch size cannot move it. The
global batch is determined first and cut into ranks afterwards, so that the number of ranks cannot either.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from riverrun.data.batch_sizes import BatchSizes
from riverrun.data.corpus import Corpus
from riverrun.data.mixture import Mixture, Segment, block_quotas, check_segments, epoch_order
from riverrun.errors import CorpusError, SettingError


@dataclass(frozen=True)
class Batch:
    """One rank's part of a batch.

    Attributes:
        indices: [n] int64, numbers of the samples in the stream.
        tokens: [n, context + 1] int64; inputs are all but the last column, targets all but the first.
    """

    indices: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]


class Stream:
    """The samples of one run, from the first to as far as anyone asks.

    Args:
        segments: what is read from which sample on. Appending one leaves every sample before it as it was.
        context: tokens that a sample predicts.
        seed: of all shuffling.
        sizes: sequences of each update's global batch.

    Raises:
        SettingError: segments or settings that make no stream.
        CorpusError: corpora with different tokenizers, or smaller than one sample.
    """

    def __init__(self, segments: Sequence[Segment], context: int, seed: int, sizes: BatchSizes) -> None:
        check_segments(segments)
        if context < 1:
            raise SettingError(f"model.context: got {context}; give at least 1 token")
        self.segments = tuple(segments)
        self.context = context
        self.seed = seed
        self.sizes = sizes
        self._corpora = _distinct_corpora(segments)
        self._samples = {key: self._count_samples(corpus) for key, corpus in self._corpora.items()}
        self._starts = np.array([segment.start_sample for segment in segments])
        self._mixtures = [
            Mixture(number, seed, tuple(block_quotas([weight for _, weight in segment.sources])))
            for number, segment in enumerate(segments)
        ]
        self._before = self._consumed_before()

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """The batch of the step-th update, step = 1, 2, ...; each rank gets a contiguous part of it.

        Where the batch cannot be divided evenly, some ranks get one sequence more than others. `SettingError` when
        there are more ranks than sequences.
        """
        sequences = self.sizes.sequences(step)
        if sequences < world:
            raise SettingError(
                f"batch.sequences: got {sequences} at step {step} for {world} ranks; give at least {world}, or start "
                f"at most {sequences} ranks"
            )
        if not 0 <= rank < world:
            raise ValueError(f"rank: got {rank}; must be from 0 to {world - 1}")
        before = self.sizes.samples(step - 1)
        indices = np.arange(before + sequences * rank // world, before + sequences * (rank + 1) // world)
        return Batch(indices, self.tokens(indices))

    def tokens(self, sample_numbers: npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.int64]:
        """Tokens of samples of the stream: [samples, context + 1] int64."""
        numbers = np.asarray(sample_numbers, np.int64)
        tokens = np.empty((numbers.size, self.context + 1), np.int64)
        for corpus, rows, index in self._locate(numbers):
            tokens[rows] = corpus.split("train").windows(index * self.context, self.context + 1)
        return tokens

    def documents(self, sample_number: int) -> list[str]:
        """Ids of the documents that a sample of the stream holds tokens of, in order."""
        ((corpus, _, index),) = self._locate(np.array([sample_number]))
        begin = int(index[0]) * self.context
        return corpus.split("train").documents(begin, begin + self.context + 1)

    def epochs(self, sample_number: int) -> dict[Corpus, float]:
        """How many times each corpus has been read when the stream has given so many samples."""
        number = int(np.searchsorted(self._starts, sample_number, side="right")) - 1
        consumed = dict(self._before[number])
        self._add_consumed(consumed, number, sample_number - self.segments[number].start_sample)
        return {self._corpora[key]: count / self._samples[key] for key, count in consumed.items()}

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What the data is made of: JSON; `hash` is sha256 of the rest."""
        return self._described(self.segments)

    def fingerprint_of_past(self, samples: int) -> dict[str, Any]:
        """What the first so many samples were made of, for a checkpoint: later segments do not count."""
        past = [segment for segment in self.segments if segment.start_sample < samples]
        return self._described(past or self.segments[:1])

    def _described(self, segments: Sequence[Segment]) -> dict[str, Any]:
        described: dict[str, Any] = {
            "tokenizer": next(iter(self._corpora.values())).tokenizer.hash,
            "context": self.context,
            "seed": self.seed,
            "segments": [
                {
                    "start_sample": segment.start_sample,
                    "sources": [
                        {
                            "corpus": corpus.fingerprint,
                            "tokens": corpus.tokens["train"],
                            "weight": float(weight),
                        }
                        for corpus, weight in segment.sources
                    ],
                }
                for segment in segments
            ],
        }
        content = json.dumps(described, sort_keys=True).encode()
        return {**described, "hash": hashlib.sha256(content).hexdigest()}

    def _locate(
        self, numbers: npt.NDArray[np.int64]
    ) -> list[tuple[Corpus, npt.NDArray[np.intp], npt.NDArray[np.int64]]]:
        """For each corpus met: which of `numbers` it gives, and which samples of its train split they are."""
        if numbers.size and numbers.min() < 0:
            raise ValueError(f"sample number: got {numbers.min()}; samples are counted from 0")
        found = []
        segment_of = np.searchsorted(self._starts, numbers, side="right") - 1
        for number in np.unique(segment_of).tolist():
            in_segment = np.flatnonzero(segment_of == number)
            segment = self.segments[number]
            source_of, ranks = self._mixtures[number].locate(numbers[in_segment] - segment.start_sample)
            for source in np.unique(source_of).tolist():
                here = np.flatnonzero(source_of == source)
                corpus = segment.sources[source][0]
                key = corpus.fingerprint
                ranks_in_corpus = ranks[here] + self._before[number].get(key, 0)
                index = epoch_order(ranks_in_corpus, self._samples[key], self.seed, key)
                found.append((corpus, in_segment[here], index))
        return found

    def _consumed_before(self) -> list[dict[str, int]]:
        """For each segment, the samples of each corpus that the segments before it give."""
        consumed: dict[str, int] = {}
        before = []
        for number, segment in enumerate(self.segments):
            if number:
                length = segment.start_sample - self.segments[number - 1].start_sample
                self._add_consumed(consumed, number - 1, length)
            before.append(dict(consumed))
        return before

    def _add_consumed(self, consumed: dict[str, int], number: int, length: int) -> None:
        counts = self._mixtures[number].consumed(length)
        for (corpus, _), count in zip(self.segments[number].sources, counts, strict=True):
            consumed[corpus.fingerprint] = consumed.get(corpus.fingerprint, 0) + count

    def _count_samples(self, corpus: Corpus) -> int:
        tokens = len(corpus.split("train"))
        if tokens <= self.context:
            raise CorpusError(
                f"corpus {corpus.directory}: {tokens} training tokens are less than one sample of "
                f"{self.context + 1}; add documents, or lower model.context"
            )
        return (tokens - 1) // self.context


def _distinct_corpora(segments: Sequence[Segment]) -> dict[str, Corpus]:
    """All corpora by fingerprint; `CorpusError` unless they share a tokenizer."""
    corpora = {corpus.fingerprint: corpus for segment in segments for corpus, _ in segment.sources}
    first, *others = corpora.values()
    for corpus in others:
        if corpus.tokenizer.hash != first.tokenizer.hash:
            raise CorpusError(
                f"corpus {corpus.directory}: its tokenizer is not that of {first.directory}; ingest it again "
                f"with --tokenizer {first.directory}/tokenizer.json"
            )
    return corpora
