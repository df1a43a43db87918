"""One input of a merge: where its tensors lie, and what else must agree between inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riverrun.merge.headers import Stored

if TYPE_CHECKING:  # takes a second to import, for what Hugging Face directories do not need
    from riverrun.runs import Checkpoint

RAW = "raw"
"""The readout that is no average."""

AVERAGED = "averaged"
"""The readout of a Lightning checkpoint that a callback for weight averaging kept."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """A Hugging Face directory, a Lightning checkpoint, or a readout of a riverrun checkpoint under Hugging Face names.

    Attributes:
        path: absolute.
        tensors: name -> tensor, in the order of the files and of their data.
        config: what describes the model; inputs of one merge must agree on it.
        position: updates done, where the input tells.
        checkpoint: the checkpoint of riverrun; None for another input.
        entries: what a Lightning checkpoint holds beside the tensors that can go into a merge; None for another input.
        notes: which of several weights were read, one line each.
    """

    path: Path
    tensors: Mapping[str, Stored]
    config: Mapping[str, Any]
    position: int | None = None
    checkpoint: Checkpoint | None = None
    entries: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files that hold its tensors."""
        return list(dict.fromkeys(stored.file for stored in self.tensors.values()))


def is_checkpoint(path: Path) -> bool:
    """Whether a folder claims to be a checkpoint of riverrun."""
    return (path / "manifest.json").is_file() and path.name.isdecimal()
