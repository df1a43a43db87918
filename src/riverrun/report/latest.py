"""The page of a tree that is being trained: made again when it is asked for and files have changed since."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from riverrun.errors import RiverrunError
from riverrun.report.facts import page_facts
from riverrun.report.page import render
from riverrun.report.schema import Page
from riverrun.runs import Tree
from riverrun.runs.metrics import to_json

_SECONDS_BETWEEN_LOOKS = 2.0
_REST = 4.0
"""Making a page of a large tree takes a while; this many times as long, the processor is left to the training."""
_DEPTH = 4
"""How deep below a tree its records and the names of its checkpoints and readouts lie."""


@dataclass(frozen=True)
class Content:
    """The page and its facts, as they are sent."""

    page: bytes
    facts: bytes


class Latest:
    """The page of a tree, at most a few seconds old when it is asked for.

    Nothing is done between requests. One request at a time reads the tree; what comes meanwhile gets what there is.
    When files change under the reader and it fails, the last good facts stay, with a note that says so.

    Raises:
        RiverrunError: the tree cannot be read at first.
    """

    def __init__(self, tree: Tree, clock: Callable[[], float] = time.monotonic):
        self._tree = tree
        self._clock = clock
        self._reading = threading.Lock()
        self._state: object = _state(tree.path)
        self._good = page_facts(tree, live=True)
        self._content = _content(self._good)
        self._next_look = clock() + _SECONDS_BETWEEN_LOOKS

    def content(self) -> Content:
        """What to send now."""
        if self._reading.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._reading.release()
        return self._content

    def _look(self) -> None:
        began = self._clock()
        if began < self._next_look:
            return
        state = _state(self._tree.path)  # before the facts: what changes while they are read counts as new
        if state != self._state:
            try:
                facts = page_facts(self._tree, live=True)
                self._content = _content(facts)
                self._good, self._state = facts, state
            except Exception as error:  # a file cut back or removed under the reader may break it anywhere
                self._content = _content(_with_note(self._good, error))
                self._state = None  # so that the next look tries again
        ended = self._clock()
        self._next_look = ended + max(_SECONDS_BETWEEN_LOOKS, _REST * (ended - began))


def _content(facts: Page) -> Content:
    return Content(render(facts).encode(), to_json(facts).encode())


def _with_note(facts: Page, error: Exception) -> Page:
    why = str(error) if isinstance(error, RiverrunError) else f"{type(error).__name__}: {error}"
    note = f"This is what was known at {facts['written']}; since then the run could not be read: {why}"
    return {**facts, "notes": [*facts["notes"], note]}


def _state(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Name, size and time of all that lies in a tree, except inside of checkpoints."""
    found = set()
    for depth in range(1, _DEPTH + 1):
        for path in folder.glob("/".join("*" * depth)):
            with suppress(OSError):  # gone since
                status = os.stat(path)
                found.add((str(path), status.st_size, status.st_mtime_ns))
    return frozenset(found)
