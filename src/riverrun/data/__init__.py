"""Text to tokens on disk, and tokens to batches by number. Needs NumPy, no torch."""

from riverrun.data.batch_sizes import BatchSizes
from riverrun.data.bundled import bundled_corpus
from riverrun.data.corpus import Corpus
from riverrun.data.ingestion import IngestProgress, ingest
from riverrun.data.mixture import Segment
from riverrun.data.same_data import check_same_data, data_difference
from riverrun.data.stream import Batch, Stream
from riverrun.data.tokenizer import Tokenizer
from riverrun.data.windows import HeldOut, held_out

__all__ = [
    "Batch",
    "BatchSizes",
    "Corpus",
    "HeldOut",
    "IngestProgress",
    "Segment",
    "Stream",
    "Tokenizer",
    "bundled_corpus",
    "check_same_data",
    "data_difference",
    "held_out",
    "ingest",
]
