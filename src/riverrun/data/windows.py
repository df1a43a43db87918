"""Fixed windows of held-out text, on which every readout of a run is measured."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riverrun.data.corpus import Corpus
from riverrun.errors import CorpusError, SettingError


@dataclass(frozen=True)
class HeldOut:
    """Evaluation windows.

    Attributes:
        tokens: [windows, context + 1] int64; the targets are all but the first column. No target is in two
            windows.
        byte_count: UTF-8 bytes that all targets stand for: bits per byte = nats summed over targets / ln 2 /
            this.
    """

    tokens: npt.NDArray[np.int64]
    byte_count: int

    @property
    def target_count(self) -> int:
        """Tokens that are predicted: all columns but the first."""
        windows, length = self.tokens.shape
        return windows * (length - 1)


def held_out(
    corpus: Corpus, split: str, context: int, sequences: int, *, part: int = 0, parts: int = 1
) -> HeldOut:
    """Windows evenly spaced over a split, the same on every call; all of them if fewer than `sequences`.

    With `parts` above 1 every parts-th window from window `part` on is taken: disjoint sets of windows, one
    to choose a model by and another to report.

    Raises `CorpusError` when not one window of `context` + 1 tokens is there.
    """
    if context < 1 or sequences < 1 or not 0 <= part < parts:
        raise SettingError(
            f"held-out windows: got context {context}, sequences {sequences}, part {part} of {parts}; give "
            "at least 1 token, 1 sequence, and a part below the number of parts"
        )
    shards = corpus.split(split)
    available = len(range(part, (len(shards) - 1) // context, parts))
    if available == 0:
        raise CorpusError(
            f"corpus {corpus.directory}: {len(shards)} tokens in split {split!r} give no window of "
            f"{context + 1} for part {part} of {parts}; ingest again with a larger --held-out, or lower "
            "model.context"
        )
    taken = min(sequences, available)
    windows = part + parts * (np.arange(taken) * available // taken)
    tokens = shards.windows(windows * context, context + 1)
    return HeldOut(tokens, int(corpus.tokenizer.byte_lengths()[tokens[:, 1:]].sum()))
