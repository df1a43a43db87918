"""Records gathered into pieces of work of even size, across files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from riverrun.data.reading import Record, read
from riverrun.data.sources import Source

CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Chunk:
    """Neighbouring records, the unit of work.

    Attributes:
        records: with the source of each.
        first: whether the corpus begins here.
        next_source, next_record: where reading goes on after the chunk: a source's index, and a count of
            records.
        bytes_read: bytes of the stored files up to here, for the progress bar.
    """

    records: list[tuple[Source, Record]]
    first: bool
    next_source: int
    next_record: int
    bytes_read: int


def chunks_of(
    sources: Sequence[Source], text_field: str, id_field: str, next_source: int = 0, next_record: int = 0
) -> Iterator[Chunk]:
    """The records from a place on, in chunks of about `CHUNK_BYTES`."""
    first = (next_source, next_record) == (0, 0)
    bytes_before = sum(source.size for source in sources[:next_source])
    records: list[tuple[Source, Record]] = []
    size = 0
    for index, source in enumerate(sources[next_source:], start=next_source):
        count = next_record if index == next_source else 0
        for record in read(source, text_field, id_field, skip=count):
            count += 1
            records.append((source, record))
            size += len(record.payload) if isinstance(record.payload, bytes | str) else 1
            if size >= CHUNK_BYTES:
                yield Chunk(records, first, index, count, bytes_before + record.offset)
                records, size, first = [], 0, False
        bytes_before += source.size
    if records:
        yield Chunk(records, first, len(sources), 0, bytes_before)
