"""Records of a source, in order and still undecoded: what lies at a line of a file or a row of a table.

Documents are made of them in the worker processes (`documents.py`), so that the one reader has little to do.
"""

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from riverrun.data.sources import Source
from riverrun.errors import CorpusError

TEXT_PART_BYTES = 1 << 20
"""A .txt file is one document up to this size; a longer one is cut at blank lines into several."""


class Record(NamedTuple):
    """One undecoded document.

    Attributes:
        line: line of a text file or row of a table where it begins, from 1.
        id: the record's own id, where the format tells it before decoding.
        payload: the bytes of a text or of a JSON line; a dataset's value as it came.
        offset: bytes of the stored file read so far, for the progress bar.
    """

    line: int
    id: str | None
    payload: Any
    offset: int


def read(source: Source, text_field: str, id_field: str, skip: int = 0) -> Iterator[Record]:
    """Records of a source in order, without the first `skip`.

    Raises `CorpusError` when the source cannot be read at all, or no further: a missing library, a damaged
    archive, a table without the column. A record that is bad in itself is given as it is.
    """
    line = 0
    try:
        for number, record in enumerate(_records(source, text_field, id_field, skip)):
            line = record.line
            # A dataset skips by itself.
            if source.kind == "dataset" or number >= skip:
                yield record
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CorpusError(
            f"{source.location}: cannot be read after line {line} ({reason}); replace the file and run the "
            "same command again"
        ) from error


def _records(source: Source, text_field: str, id_field: str, skip: int) -> Iterator[Record]:
    if source.kind == "dataset":
        return _dataset_rows(source, text_field, id_field, skip)
    if source.kind == "parquet":
        return _parquet_rows(source, text_field, id_field)
    return _file_records(source)


def _file_records(source: Source) -> Iterator[Record]:
    """Lines of a .jsonl file, parts of a .txt file; a byte order mark before the first is dropped."""
    with open(source.path, "rb") as stored:
        content = _decompressed(stored, source)
        records = (
            _lines(content, stored.tell)
            if source.kind == "json"
            else _text_parts(content, source, stored.tell)
        )
        first = next(records, None)
        if first is None:
            yield Record(1, None, b"", 0)
            return
        yield first._replace(payload=first.payload.removeprefix(b"\xef\xbb\xbf"))
        yield from records


def _decompressed(stored: IO[bytes], source: Source) -> IO[bytes]:
    compression = Path(source.path).suffix.lower()
    if compression == ".gz":
        return cast(IO[bytes], io.BufferedReader(gzip.GzipFile(fileobj=stored), 1 << 20))
    if compression == ".xz":
        return cast(IO[bytes], io.BufferedReader(lzma.LZMAFile(stored), 1 << 20))
    if compression == ".zst":
        arrow = _import_arrow(source)
        return cast(IO[bytes], io.BufferedReader(arrow.CompressedInputStream(stored, "zstd"), 1 << 20))
    return stored


def _lines(content: IO[bytes], tell: Callable[[], int]) -> Iterator[Record]:
    for number, line in enumerate(content, start=1):
        yield Record(number, None, line.rstrip(b"\r\n"), tell())


def _text_parts(content: IO[bytes], source: Source, tell: Callable[[], int]) -> Iterator[Record]:
    """A text as one record, or, longer than `TEXT_PART_BYTES`, as several, each id telling the line."""
    line, held, begun = 1, b"", False
    while True:
        held += content.read(TEXT_PART_BYTES + 1 - len(held))
        if not held:
            return
        whole = len(held) <= TEXT_PART_BYTES
        cut = len(held) if whole else _place_to_cut(held)
        part, held = held[:cut], held[cut:]
        id = source.name if whole and not begun else f"{source.name}:{line}"
        yield Record(line, id, part, tell())
        line, begun = line + part.count(b"\n"), True


def _place_to_cut(text: bytes) -> int:
    """After the last blank line of the second half, else after its last line, else between two characters."""
    middle = len(text) // 2
    for mark in (b"\n\n", b"\n"):
        found = text.rfind(mark, middle, len(text) - 1)
        if found >= 0:
            return found + len(mark)
    # UTF-8 continuation bytes are 0b10xxxxxx; a character has at most three of them.
    cut = len(text) - 1
    while cut > len(text) - 4 and text[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _parquet_rows(source: Source, text_field: str, id_field: str) -> Iterator[Record]:
    arrow = _import_arrow(source)
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(source.path)
        names = table.schema_arrow.names
        _require_column(source, text_field, names)
        columns = [text_field, id_field] if id_field in names else [text_field]
        text_type = table.schema_arrow.field(text_field).type
        if not (arrow.types.is_string(text_type) or arrow.types.is_large_string(text_type)):
            raise CorpusError(
                f"{source.location}: column {text_field!r} holds {text_type}, not text; name a text column "
                "with --text-field"
            )
        row = 0
        for batch in table.iter_batches(batch_size=1024, columns=columns):
            # As bytes: a broken encoding is then a fault of its row alone.
            texts = batch.column(text_field).cast(arrow.large_binary()).to_pylist()
            ids = batch.column(id_field).to_pylist() if len(columns) == 2 else [None] * len(texts)
            offset = source.size * row // max(table.metadata.num_rows, 1)
            for text, id in zip(texts, ids, strict=True):
                row += 1
                yield Record(row, None if id is None else str(id), text, offset)
        if row == 0:
            yield Record(1, None, b"", 0)
    except arrow.ArrowException as error:
        raise CorpusError(
            f"{source.location}: not a readable parquet file ({str(error).splitlines()[0]}); replace it"
        ) from error


def _dataset_rows(source: Source, text_field: str, id_field: str, skip: int) -> Iterator[Record]:
    """Rows of `hf:NAME[:CONFIG][@SPLIT]`, streamed; the split is `train` unless it is named."""
    try:
        import datasets
    except ImportError as error:
        raise CorpusError(
            f"{source.location}: Hugging Face datasets need the package datasets; pip install 'riverrun[hub]'"
        ) from error
    named, _, split = source.path.removeprefix("hf:").partition("@")
    name, _, config = named.partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split=split or "train", streaming=True)
        names = rows.column_names or list(next(iter(rows), {}))
        _require_column(source, text_field, names)
        if skip:
            rows = rows.skip(skip)
        for number, row in enumerate(rows, start=skip + 1):
            id = row.get(id_field)
            yield Record(number, None if id is None else str(id), row.get(text_field), 0)
    except CorpusError:
        raise
    # The network, the hub and every format that `datasets` reads have errors of their own.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorpusError(
            f"{source.location}: cannot be read ({reason}); check the name, the configuration and the split "
            "in hf:NAME:CONFIG@SPLIT, then run the same command again"
        ) from error


def _require_column(source: Source, text_field: str, names: Sequence[str]) -> None:
    if text_field not in names:
        raise CorpusError(
            f"{source.location}: no column {text_field!r}; it has {', '.join(names)}: name one with "
            "--text-field"
        )


def _import_arrow(source: Source) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise CorpusError(
            f"{source.location}: this format needs the package pyarrow; pip install 'riverrun[data]'"
        ) from error
    return pyarrow
