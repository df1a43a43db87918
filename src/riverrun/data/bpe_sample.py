"""The text that a BPE is trained on: a bounded part of the sources, the same on every run."""

from collections.abc import Iterator, Sequence

from riverrun.data.documents import BadDocument, decode_record, is_held_out
from riverrun.data.reading import read
from riverrun.data.sources import Source

SAMPLE_BYTES = 64 << 20
SAMPLE_SOURCES = 64


def bpe_sample(sources: Sequence[Source], text_field: str, id_field: str, held_out: float) -> Iterator[str]:
    """Training documents from the beginning of up to 64 evenly spaced sources, about 64 MiB together.

    Held-out documents stay out, and so do bad ones, which the ingest itself reports.
    """
    count = min(len(sources), SAMPLE_SOURCES)
    chosen = [sources[index * len(sources) // count] for index in range(count)]
    left = SAMPLE_BYTES
    for number, source in enumerate(chosen):
        # What small sources leave of their share goes to those after them.
        share = left // (count - number)
        for record in read(source, text_field, id_field):
            try:
                document = decode_record(source, record, text_field, id_field)
            except BadDocument:
                continue
            if is_held_out(document.utf8, held_out):
                continue
            yield document.text
            share -= len(document.utf8)
            left -= len(document.utf8)
            if share <= 0:
                break
