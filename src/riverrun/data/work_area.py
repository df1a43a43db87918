"""What an ingest keeps on disk about itself: what it was asked for, and, until it ends, how far it came."""

import contextlib
import fcntl
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from riverrun.data.documents import SPLITS
from riverrun.data.manifest import REQUEST, TOKENIZER, WORK_AREA, Skipped
from riverrun.data.shards import SplitProgress
from riverrun.data.sources import Source
from riverrun.errors import CorpusError
from riverrun.publish import publish_file

NOTE = "note.json"


class Request(BaseModel):
    """What an ingest was asked for: settings, and the name and version of each source, in order.

    Written before anything else and kept beside the manifest; too long, with many sources, for either note or
    manifest.
    """

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Any]
    sources: list[tuple[str, str]]

    @classmethod
    def of(cls, settings: dict[str, Any], sources: Sequence[Source]) -> "Request":
        """The request for some sources."""
        return cls(settings=settings, sources=[(source.name, source.version) for source in sources])

    def difference_from(self, earlier: "Request") -> str | None:
        """The first difference from an earlier request, in words."""
        for name, value in self.settings.items():
            if earlier.settings.get(name) != value:
                return f"{name} was {earlier.settings.get(name)}, is {value}"
        for (old_name, old_version), (name, version) in zip(earlier.sources, self.sources, strict=False):
            if old_name != name:
                return f"a source was {old_name}, is {name}"
            if old_version != version:
                return f"{name} was changed since"
        if len(earlier.sources) != len(self.sources):
            return f"there were {len(earlier.sources)} sources, there are {len(self.sources)}"
        return None


class Note(BaseModel):
    """What an interrupted ingest needs to go on: where to read on, and what is written."""

    model_config = ConfigDict(extra="forbid")

    next_source: NonNegativeInt = 0
    next_record: NonNegativeInt = 0
    bytes_read: NonNegativeInt = 0
    records: NonNegativeInt = 0
    splits: dict[str, SplitProgress]
    skipped: Skipped = Skipped()

    @property
    def begun(self) -> bool:
        """Whether anything was read."""
        return (self.next_source, self.next_record) != (0, 0)


@contextlib.contextmanager
def work_area_in(out: Path, restart: bool) -> Iterator[Path]:
    """The directory inside `out` where an ingest keeps its note, locked against a second ingest."""
    work_area = out / WORK_AREA
    out.mkdir(parents=True, exist_ok=True)
    if not work_area.exists() and any(out.iterdir()):
        raise CorpusError(
            f"corpus {out}: the directory holds other files and no corpus; choose an empty or new one for "
            "--out"
        )
    work_area.mkdir(exist_ok=True)
    with (work_area / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CorpusError(
                f"corpus {out}: another ingest is writing here; wait for it, or choose another --out"
            ) from None
        if restart:
            discard(out)
        yield work_area


def discard(out: Path) -> None:
    """Remove what an unfinished ingest has written."""
    shard_file = re.compile(rf"({'|'.join(SPLITS)})-\d+\.\w+")
    for path in out.iterdir():
        if path.name in (TOKENIZER, REQUEST) or shard_file.fullmatch(path.name):
            path.unlink()
    (out / WORK_AREA / NOTE).unlink(missing_ok=True)


def begin_or_go_on(out: Path, request: Request) -> Note:
    """The note of an interrupted ingest, or a new one; `CorpusError` when it was asked for something else."""
    path = out / WORK_AREA / NOTE
    if not path.exists():
        publish_file(out / REQUEST, request.model_dump_json().encode())
        return Note(splits={split: SplitProgress() for split in SPLITS})
    changed = request.difference_from(read_request(out))
    if changed:
        raise CorpusError(
            f"corpus {out}: an ingest with other settings was interrupted here ({changed}); give the same "
            "settings to go on, or begin again with --restart"
        )
    try:
        return Note.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorpusError(
            f"{path}: not the note of an interrupted ingest; begin again with --restart"
        ) from error


def read_request(out: Path) -> Request:
    """What the ingest in a directory was asked for."""
    try:
        return Request.model_validate_json((out / REQUEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise CorpusError(
            f"corpus {out}: {REQUEST}, which tells what it was made from, is missing or damaged; choose "
            "another --out, or remove the directory and ingest again"
        ) from error
