"""What was sent to a tracker that does not tell what it has: a small file beside the record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from riverrun.runs import Node


def folder_of(node: Node, tracker: str) -> Path:
    """Where a node keeps what it must know of a tracker."""
    return node.path / "trackers" / tracker


class Sent:
    """The step up to which lines were sent to one place, and how to look at them there.

    Another place, such as another project, begins anew. The file goes by a rename, but is not flushed to the disk:
    after a loss of power a few lines may be sent twice.
    """

    def __init__(self, node: Node, tracker: str, place: Mapping[str, str | None]) -> None:
        self._path = folder_of(node, tracker) / "sent.json"
        self._place = dict(place)
        self.step, self.look = 0, ""
        with suppress(OSError, ValueError, KeyError):
            found = json.loads(self._path.read_bytes())
            if found["place"] == self._place:
                self.step, self.look = found["step"], found["look"]

    def note(self, step: int, look: str) -> None:
        """All up to a step was sent."""
        self.step, self.look = step, look
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps({"place": self._place, "step": step, "look": look}) + "\n")
        aside.replace(self._path)
