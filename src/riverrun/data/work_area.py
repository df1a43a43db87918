"""What lies in a corpus's directory only while it is being made: a note of how far the ingest came."""

import contextlib
import fcntl
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from riverrun.data.documents import SPLITS
from riverrun.data.manifest import TOKENIZER, WORK_AREA, Skipped
from riverrun.data.shards import SplitProgress
from riverrun.errors import CorpusError

NOTE = "note.json"


class Note(BaseModel):
    """What an interrupted ingest needs to go on: what it was asked for, where to read on, what is written."""

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Any]
    sources: list[dict[str, str]]
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
    """The directory inside `out` where an unfinished ingest keeps its note, locked against a second
    ingest.
    """
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
        if path.name == TOKENIZER or shard_file.fullmatch(path.name):
            path.unlink()
    (out / WORK_AREA / NOTE).unlink(missing_ok=True)


def read_note(work_area: Path, settings: dict[str, Any], sources: list[dict[str, str]]) -> Note:
    """The note of an interrupted ingest, or a new one; `CorpusError` when it was asked for something else."""
    path = work_area / NOTE
    if not path.exists():
        return Note(settings=settings, sources=sources, splits={split: SplitProgress() for split in SPLITS})
    try:
        note = Note.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CorpusError(
            f"{path}: not the note of an interrupted ingest; begin again with --restart"
        ) from error
    changed = difference(note.settings, settings, note.sources, sources)
    if changed:
        raise CorpusError(
            f"corpus {work_area.parent}: an ingest with other settings was interrupted here ({changed}); "
            "give the same settings to go on, or begin again with --restart"
        )
    return note


def difference(
    old: dict[str, Any],
    new: dict[str, Any],
    old_sources: list[dict[str, str]],
    new_sources: list[dict[str, str]],
) -> str | None:
    """The first difference between two ingests, in words."""
    for name, value in new.items():
        if old.get(name) != value:
            return f"{name} was {old.get(name)}, is {value}"
    for before, now in zip(old_sources, new_sources, strict=False):
        if before["name"] != now["name"]:
            return f"a source was {before['name']}, is {now['name']}"
        if before != now:
            return f"{now['name']} was changed since"
    if len(old_sources) != len(new_sources):
        return f"there were {len(old_sources)} sources, there are {len(new_sources)}"
    return None
