"""Putting files and folders in place so that they are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Whatever bears this prefix was not finished: nobody reads it, the next writer clears it away.
UNFINISHED = ".unfinished-"


@contextmanager
def published_directory(target: Path) -> Iterator[Path]:
    """A folder to fill; on leaving it is flushed to disk and renamed to `target`; on an error it is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{target.name}-", dir=target.parent))
    aside.chmod(0o755)  # mkdtemp makes folders private; a run's are for whoever may read the run
    try:
        yield aside
        for file in aside.rglob("*"):
            flush(file)
        flush(aside)
        os.rename(aside, target)
        flush(target.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def publish_file(target: Path, content: bytes) -> None:
    """Write `target` so that a reader sees the old content or the new, never a part, also after a loss of power."""
    aside = target.with_name(f"{UNFINISHED}{target.name}-{os.getpid()}")
    try:
        aside.write_bytes(content)
        flush(aside)
        aside.replace(target)
        flush(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def remove_unpublished(folder: Path) -> None:
    """Clear away what a killed process left half-made in `folder`."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def flush(path: Path) -> None:
    """Ask the operating system to bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
