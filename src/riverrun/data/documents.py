"""From records to tokens, in the worker processes: decoding, refusing, holding out, encoding."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from riverrun.data.chunks import Chunk
from riverrun.data.manifest import Fault
from riverrun.data.reading import Record
from riverrun.data.sources import Source
from riverrun.data.tokenizer import Tokenizer

SPLITS = ("train", "validation")


class BadDocument(Exception):
    """A record that gives no document; the message says why."""


@dataclass
class EncodedSplit:
    """Documents of one split: ids, tokens with end-of-text after each, lengths in tokens, bytes of text."""

    ids: list[str] = field(default_factory=list)
    lengths: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    tokens: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0, np.uint16))
    bytes: int = 0


@dataclass
class EncodedChunk:
    """What a chunk gives: documents by split, and faults, in the order of the records."""

    splits: dict[str, EncodedSplit]
    faults: list[Fault]


class Document(NamedTuple):
    """A document's id, its text, and the text as UTF-8."""

    id: str
    text: str
    utf8: bytes


def decode_record(source: Source, record: Record, text_field: str, id_field: str) -> Document:
    """The document of a record; raises `BadDocument`."""
    id, text = record.id, record.payload
    if source.kind == "json":
        id, text = _decode_json(record.payload, text_field, id_field)
    elif isinstance(text, bytes):
        text = _decode_utf8(text)
    if text is None:
        raise BadDocument(f"no text in {text_field!r}")
    if not isinstance(text, str):
        raise BadDocument(f"{text_field!r} holds {_json_type(text)}, not text")
    if not text.strip():
        raise BadDocument("empty document")
    try:
        utf8 = text.encode()
    except UnicodeEncodeError:
        # JSON can escape half of a surrogate pair.
        raise BadDocument(f"{text_field!r} is not valid Unicode: half a surrogate pair") from None
    # An id becomes a line of a file, in UTF-8.
    in_one_line = " ".join((id or "").encode(errors="replace").decode().split())
    return Document(in_one_line or f"{source.name}:{record.line}", text, utf8)


def _decode_json(line: bytes, text_field: str, id_field: str) -> tuple[str | None, Any]:
    if not line.strip():
        raise BadDocument("empty line")
    decoded = _decode_utf8(line)
    try:
        value = json.loads(decoded)
    except RecursionError:
        raise BadDocument("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise BadDocument(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadDocument(f"{_json_type(value)}, not a JSON object")
    if text_field not in value:
        raise BadDocument(f"no field {text_field!r}")
    id = value.get(id_field)
    return (str(id) if isinstance(id, str | int) else None), value[text_field]


def _decode_utf8(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        below = f", {line} lines further down" if line else ""
        raise BadDocument(f"not UTF-8: byte 0x{content[error.start]:02x} at {error.start}{below}") from None


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def is_held_out(utf8: bytes, share: float) -> bool:
    """Whether a document belongs to the validation split.

    It does when the sha256 of its text, read as a fraction of 1, is below `share`. The text alone decides:
    copies of one text never lie on both sides, and a document stays on its side when files are renamed or
    added.
    """
    fraction = int.from_bytes(hashlib.sha256(utf8).digest()[:8], "big") / 2**64
    return fraction < share


class ChunkEncoder:
    """Chunks to tokens, a pure function of the chunk; made once in each worker process."""

    def __init__(self, tokenizer: Tokenizer, text_field: str, id_field: str, held_out: float) -> None:
        self.tokenizer = tokenizer
        self.text_field = text_field
        self.id_field = id_field
        self.held_out = held_out
        self.dtype = np.dtype(np.uint16 if tokenizer.fits_uint16 else np.uint32)

    def __call__(self, chunk: Chunk) -> EncodedChunk:
        """Tokens and faults of a chunk."""
        texts: dict[str, list[str]] = {split: [] for split in SPLITS}
        encoded = EncodedChunk(splits={split: EncodedSplit() for split in SPLITS}, faults=[])
        for source, record in chunk.records:
            try:
                document = decode_record(source, record, self.text_field, self.id_field)
            except BadDocument as error:
                encoded.faults.append(Fault(file=source.location, line=record.line, reason=str(error)))
                continue
            # The corpus's first document is for training, or a corpus of one document might have none to
            # train on.
            leads = chunk.first and not texts["train"] and not texts["validation"]
            split = "validation" if not leads and is_held_out(document.utf8, self.held_out) else "train"
            texts[split].append(document.text)
            encoded.splits[split].ids.append(document.id)
            encoded.splits[split].bytes += len(document.utf8)
        for split, gathered in texts.items():
            lengths, tokens = self.tokenizer.encode_documents(gathered)
            encoded.splits[split].lengths = lengths
            encoded.splits[split].tokens = tokens.astype(self.dtype, copy=False)
        return encoded
