"""A node: one run on disk, from where it forked to where it stands.

trunk/
  node.json          written once: id, parent, recipe, data fingerprint, versions
  metrics.jsonl      the record of the trajectory (see `metrics`)
  feeds.jsonl        corpora that joined in later (see `train.feed`)
  evaluations.jsonl  readouts asked for on top, at positions the recipe does not name
  averages.jsonl     what averages scored that were made after the fact
  sweeps.jsonl       what many averages of one position scored, of which one was chosen
  tasks.jsonl        what readouts scored on tasks (see `integrations.lm_eval`)
  events.jsonl       what happened when: starts, stops, throughput
  tensorboard/, trackers/  event files, and how far other trackers are fed (see `trackers`)
  checkpoints/00012500/
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from riverrun.errors import CheckpointError
from riverrun.publish import publish_file, remove_unpublished
from riverrun.runs.checkpoint import Checkpoint, list_checkpoints
from riverrun.runs.lock import RunError, exclusive
from riverrun.runs.metrics import Record, append_record, read_records

FORMAT = 1
TRUNK = "trunk"


@dataclass(frozen=True)
class Fork:
    """Where a branch begins: the parent's name, the position, and the hash of the checkpoint there."""

    node: str
    step: int
    checkpoint: str


@dataclass(frozen=True)
class Merged:
    """One of the models that a merge was made of: of which node, at which position, its weight, where it lay."""

    node: str
    step: int
    weight: float
    path: str


@dataclass(frozen=True)
class Node:
    """The folder of one run."""

    path: Path

    @property
    def id(self) -> str:
        """Name of the node in its tree: "trunk", or the branch's folder name."""
        return self.path.name

    @property
    def run(self) -> Path:
        """The tree's folder."""
        return self.path.parent if self.id == TRUNK else self.path.parent.parent

    @property
    def option(self) -> str:
        """The option of the command line that names another place for such a run."""
        return "--run" if self.id == TRUNK else "--name"

    @property
    def exists(self) -> bool:
        """Whether the node was created; a folder that holds other things is not a node."""
        return (self.path / "node.json").is_file()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What node.json says: recipe, parent, data fingerprint, versions."""
        try:
            facts: dict[str, Any] = json.loads((self.path / "node.json").read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path}: node.json cannot be read ({error})") from None
        found = facts.get("format") if isinstance(facts, dict) else None
        if found != FORMAT:
            raise RunError(f"{self.path}: node.json has format {found}; this version reads {FORMAT}")
        return facts

    def create(self, facts: Mapping[str, Any]) -> None:
        """Write node.json; a folder with foreign contents is refused."""
        leftovers = [item.name for item in self.path.iterdir() if not item.name.startswith(".")]
        if leftovers:
            raise RunError(
                f"{self.path}: holds {leftovers[0]!r} but no node.json, so it is no run of riverrun; "
                f"name another directory with {self.option}"
            )
        content = json.dumps({"format": FORMAT, "id": self.id, **facts}, indent=1) + "\n"
        publish_file(self.path / "node.json", content.encode())

    @contextmanager
    def withdrawn_on_error(self) -> Iterator[None]:
        """Take node.json back if what follows its creation fails."""
        try:
            yield
        except BaseException:
            (self.path / "node.json").unlink(missing_ok=True)
            raise

    @property
    def parent(self) -> Fork | None:
        """Where a branch forked off; None for a trunk, and for a merge, which has several parents."""
        recorded = self.facts["parent"]
        return None if recorded is None else Fork(**recorded)

    @property
    def merged(self) -> tuple[Merged, ...]:
        """What a merge was made of, oldest first; nothing for a trunk or a branch."""
        return tuple(Merged(**recorded) for recorded in self.facts.get("merged", ()))

    @property
    def model_path(self) -> Path:
        """Where a merge's model lies."""
        return self.path / self.facts["model"]  # an absolute path stays itself

    @property
    def feeds_path(self) -> Path:
        """The record of corpora that joined in after the node was created."""
        return self.path / "feeds.jsonl"

    @property
    def data(self) -> dict[str, Any]:
        """The fingerprint of the data as it was last settled: at the creation, or by the latest feed."""
        feeds = read_records(self.feeds_path)
        found: dict[str, Any] = feeds[-1]["data"] if feeds else self.facts["data"]
        return found

    @property
    def checkpoint_folder(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints by position, unread."""
        return list_checkpoints(self.checkpoint_folder)

    def latest_checkpoint(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that verifies; each damaged one on the way is named through `warn`.

        Checkpoints share their parts, and so a damage to them. Where no checkpoint is whole, the newest that is whole
        but for its parts is given without them. None where none was ever saved. Where all are damaged,
        `CheckpointError`: to begin anew is the owner's choice.
        """
        checkpoints = self.checkpoints()
        for checkpoint in reversed(checkpoints):
            try:
                checkpoint.verify()
            except CheckpointError as error:
                if (
                    not checkpoint.path.exists()
                ):  # whoever trains here let it go meanwhile: there are newer ones
                    return self.latest_checkpoint(warn)
                warn(f"{error}; trying the checkpoint before it")
            else:
                return checkpoint
        for checkpoint in reversed(checkpoints):
            without = replace(checkpoint, parts=False)
            with suppress(CheckpointError):
                without.verify()
                warn(f"{without.path}: is whole but for its history, which begins anew")
                return without
        if checkpoints:
            raise CheckpointError(
                f"{self.path}: all {len(checkpoints)} checkpoints are damaged; put a copy of one back, or remove "
                f"{self.checkpoint_folder} to begin anew"
            )
        return None

    @property
    def metrics_path(self) -> Path:
        """The record of the trajectory."""
        return self.path / "metrics.jsonl"

    @property
    def evaluations_path(self) -> Path:
        """The record of readouts asked for on top."""
        return self.path / "evaluations.jsonl"

    def readouts(self) -> list[Record]:
        """One record per evaluated position, by step, those asked for on top included; null is NaN again."""
        return evaluated([*read_records(self.evaluations_path), *read_records(self.metrics_path)])

    @property
    def averages_path(self) -> Path:
        """The record of averages that were made after the fact."""
        return self.path / "averages.jsonl"

    @property
    def sweeps_path(self) -> Path:
        """The record of sweeps over averages."""
        return self.path / "sweeps.jsonl"

    def averages(self) -> list[Record]:
        """One record for each average made after the fact, by step; of equals the latest; null is NaN again."""
        latest = {(record["step"], record["profile"]): record for record in read_records(self.averages_path)}
        return [_with_nan(latest[key]) for key in sorted(latest)]

    def event(self, event: str, **facts: Any) -> None:
        """Note what happened, with the time."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append_record(self.path / "events.jsonl", {"time": now, "event": event, **facts})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer; the system lets go of the lock when the process ends, however it ends.

        A folder in which no node was created meanwhile is removed again, if it was made here.
        """
        with exclusive(self.path, "training here", self.option, keep=lambda: self.exists):
            remove_unpublished(self.path)
            if self.checkpoint_folder.is_dir():
                remove_unpublished(self.checkpoint_folder)
            yield


def evaluated(records: Iterable[Record]) -> list[Record]:
    """Those with readouts, one for each position, the last of several, by step; null is NaN again."""
    found = {record["step"]: record for record in records if "loss/raw" in record}
    return [_with_nan(found[step]) for step in sorted(found)]


def _with_nan(record: Record) -> Record:
    return {key: math.nan if value is None else value for key, value in record.items()}
