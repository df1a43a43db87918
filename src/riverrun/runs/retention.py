"""Which checkpoints stay: the fork points that future branches need, and the latest few."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from riverrun.errors import CheckpointError
from riverrun.publish import UNFINISHED
from riverrun.runs.checkpoint import Checkpoint, list_checkpoints


def prune(folder: Path, step: int, is_kept: Callable[[int], bool], latest: int) -> list[int]:
    """Remove checkpoints that are neither kept for good nor among the `latest`; returns their positions.

    Kept for good is what `is_kept` says, and what was a fork point when it was saved: its manifest says so.

    Only what lies up to `step`, the position just saved, is counted or removed: a checkpoint beyond it was passed
    over as damaged and must not stand for a good one. The newest stays, whatever `latest` says. A removal is a rename
    first, so that a kill in the middle leaves a folder that nobody takes for a checkpoint.
    """
    checkpoints = [checkpoint for checkpoint in list_checkpoints(folder) if checkpoint.step <= step]
    removed = []
    for checkpoint in checkpoints[: -max(latest, 1)]:
        if not is_kept(checkpoint.step) and not _was_fork_point(checkpoint):
            condemned = checkpoint.path.with_name(f"{UNFINISHED}{checkpoint.path.name}-removed")
            checkpoint.path.rename(condemned)
            if is_kept(checkpoint.step):  # a branch began there at this very moment
                condemned.rename(checkpoint.path)
                continue
            shutil.rmtree(condemned)
            removed.append(checkpoint.step)
    return removed


def _was_fork_point(checkpoint: Checkpoint) -> bool:
    try:
        return bool(checkpoint.manifest.get("fork_point"))
    except CheckpointError:
        return False  # nobody can fork from it
