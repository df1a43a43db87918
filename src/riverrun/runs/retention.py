"""Which checkpoints stay: the fork points that future branches need, and the latest few."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from riverrun.publish import UNFINISHED
from riverrun.runs.checkpoint import list_checkpoints


def prune(folder: Path, step: int, is_fork_point: Callable[[int], bool], latest: int) -> list[int]:
    """Remove checkpoints that are neither a fork point nor among the `latest`; returns their positions.

    Only what lies up to `step`, the position just saved, is counted or removed: a checkpoint beyond it was passed
    over as damaged and must not stand for a good one. The newest stays, whatever `latest` says. A removal is a rename
    first, so that a kill in the middle leaves a folder that nobody takes for a checkpoint.
    """
    checkpoints = [checkpoint for checkpoint in list_checkpoints(folder) if checkpoint.step <= step]
    removed = []
    for checkpoint in checkpoints[: len(checkpoints) - max(latest, 1)]:
        if not is_fork_point(checkpoint.step):
            condemned = checkpoint.path.with_name(f"{UNFINISHED}{checkpoint.path.name}-removed")
            checkpoint.path.rename(condemned)
            shutil.rmtree(condemned)
            removed.append(checkpoint.step)
    return removed
