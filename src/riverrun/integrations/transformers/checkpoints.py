"""Checkpoints of a Trainer: which are complete, and can be gone on from."""

import json
import re
import warnings
from pathlib import Path

from riverrun.errors import CheckpointError

# What the Trainer writes last.
STATE_FILE = "trainer_state.json"
SCHEDULER_FILE = "scheduler.pt"

# The Trainer's mark on a checkpoint that it began to save at a SIGTERM (`enable_jit_checkpoint`).
UNFINISHED_FILE = "checkpoint-is-incomplete.txt"


def position_of(folder: Path) -> int | None:
    """The number of updates done; None for a checkpoint that was not saved to its end."""
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return None if (folder / UNFINISHED_FILE).exists() else int(state["global_step"])


def last_checkpoint(folder: Path) -> Path | None:
    """The latest complete checkpoint of a run; a later one that was never finished is passed over, with a warning."""
    numbered = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and path.is_dir()
    }
    for _, path in sorted(numbered.items(), reverse=True):
        if position_of(path) is not None:
            return path
        warnings.warn(f"{path}: was not saved to its end; passed over", stacklevel=3)
    return None


def check_checkpoint(folder: Path) -> int:
    """The position of a checkpoint that training can go on from.

    Raises:
        CheckpointError: it is incomplete, or was saved without the optimizer: the Trainer would begin with new moments,
            and say nothing.
    """
    position = position_of(folder)
    if position is None:
        raise CheckpointError(f"{folder}: no complete checkpoint of a Trainer; choose another one.")
    has_optimizer = any(path.name.startswith("optimizer") for path in folder.iterdir())
    if not has_optimizer or not (folder / SCHEDULER_FILE).is_file():
        raise CheckpointError(
            f"{folder}: has no optimizer state to go on with. Set save_only_model=False in the run that saves."
        )
    return position
