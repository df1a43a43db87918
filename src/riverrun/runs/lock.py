"""One writer at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from riverrun.errors import RiverrunError


class RunError(RiverrunError):
    """A run directory is missing, in use, or not what the command needs."""


class BusyError(RunError):
    """Another process writes here."""


@contextmanager
def exclusive(folder: Path, doing: str, option: str, keep: Callable[[], bool]) -> Iterator[None]:
    """Be the only one who writes in a folder; the system lets go of the lock when the process ends, however it ends.

    Args:
        folder: made where it is not there.
        doing: what another process that is first is told to be doing.
        option: of the command line, by which another folder is named.
        keep: asked at the end; a folder that was made here and is not to be kept is removed again.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a")  # noqa: SIM115  closed below
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror}); name another with {option}"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{folder}: another process is {doing}; wait for it or stop it") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            if made and not keep():
                (folder / ".lock").unlink(missing_ok=True)
                with suppress(OSError):  # something else was put there meanwhile: it stays
                    for path in made:
                        path.rmdir()
