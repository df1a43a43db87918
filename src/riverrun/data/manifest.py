"""What a corpus's manifest.json holds, and reading it."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from riverrun.errors import CorpusError

FORMAT = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
REQUEST = "request.json"
WORK_AREA = ".ingest"


class TokenizerEntry(BaseModel):
    """The corpus's tokenizer: what was asked for, sha256 of tokenizer.json, vocabulary, end-of-text id."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    sha256: str
    vocabulary: PositiveInt
    end_of_text: NonNegativeInt


class Shard(BaseModel):
    """A finished shard as the manifest lists it: `file` is its token file, whose content sha256 names."""

    model_config = ConfigDict(extra="forbid")

    file: str
    tokens: NonNegativeInt
    documents: NonNegativeInt
    sha256: str


class SplitEntry(BaseModel):
    """Size of a split and its shards in order; `bytes` counts the UTF-8 bytes of its text."""

    model_config = ConfigDict(extra="forbid")

    tokens: NonNegativeInt
    documents: NonNegativeInt
    bytes: NonNegativeInt
    shards: list[Shard]


class Fault(BaseModel):
    """A record that was skipped: where it is, and why."""

    model_config = ConfigDict(extra="forbid")

    file: str
    line: int
    reason: str


class Skipped(BaseModel):
    """How many records were skipped, and the first of them."""

    model_config = ConfigDict(extra="forbid")

    count: NonNegativeInt = 0
    first: list[Fault] = []


class LeftOut(BaseModel):
    """How many files of the folders given were left out because of their ending, and the first of them."""

    model_config = ConfigDict(extra="forbid")

    count: NonNegativeInt = 0
    first: list[str] = []


class Manifest(BaseModel):
    """Content of manifest.json."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["riverrun corpus"] = "riverrun corpus"
    version: int = FORMAT
    tokenizer: TokenizerEntry
    dtype: Literal["uint16", "uint32"]
    splits: dict[str, SplitEntry]
    skipped: Skipped
    left_out: LeftOut
    settings: dict[str, Any]


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the corpus in a directory; `CorpusError` when it has none that this version reads."""
    if not directory.is_dir():
        raise CorpusError(
            f"corpus {directory}: no such directory; make it with riverrun data ingest SOURCE --out "
            f"{directory}"
        )
    path = directory / MANIFEST
    if not path.exists():
        if (directory / WORK_AREA).is_dir():
            raise CorpusError(
                f"corpus {directory}: its ingest was interrupted; run the same riverrun data ingest command "
                "again"
            )
        raise CorpusError(
            f"corpus {directory}: not a corpus, it has no {MANIFEST}; give a directory that riverrun data "
            "ingest made"
        )
    try:
        content = json.loads(path.read_bytes())
        version = content.get("version") if isinstance(content, dict) else None
        if isinstance(version, int) and version != FORMAT:
            raise CorpusError(
                f"corpus {directory}: format version {version}; this riverrun reads version {FORMAT}: ingest "
                "again, or use the riverrun that made it"
            )
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CorpusError(
            f"corpus {directory}: {MANIFEST} is not a corpus's ({where}: {first['msg']}); give a directory "
            "that riverrun data ingest made"
        ) from error
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"corpus {directory}: {MANIFEST} cannot be read ({error}); copy it again, or ingest again"
        ) from error
