"""Configurations of torchtitan made open-ended, and decay branches of them."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torchtitan.trainer import Trainer

from riverrun.errors import SettingError
from riverrun.integrations.torchtitan.averages import Averages
from riverrun.integrations.torchtitan.lr_schedulers import AnytimeLRSchedulers
from riverrun.integrations.torchtitan.trainer import AnytimeTrainer
from riverrun.integrations.torchtitan.validator import AveragedValidator
from riverrun.schedules import Schedule


def anytime(
    config: Trainer.Config, schedule: Schedule, *, tracks: Sequence[str] = ("half-life:25",), every: int = 1
) -> AnytimeTrainer.Config:
    """A configuration of torchtitan with a schedule of riverrun's, averages, and checkpoints to branch from.

    The peak LR stays that of its optimizers, and ``training.steps`` says when to stop. All else is kept, but: the
    validation runs the averages too, all checkpoints are kept, and the last one is complete, so that training can go
    on from it.

    Args:
        config: of torchtitan, such as ``llama3_8b()``.
        schedule: the multiplier of the peak LR.
        tracks: the averages, by their specs; none, and there are none.
        every: updates of the averages are made at steps divisible by it.

    Raises:
        SettingError: the configuration is that of another trainer.
        ValueError: a track that cannot be kept.
    """
    other = _fields(config).keys() - {entry.name for entry in fields(AnytimeTrainer.Config)}
    if other:
        raise SettingError(
            f"config: got {type(config).__qualname__}, which also has {', '.join(sorted(other))}; must be a "
            "Trainer.Config. For another trainer, derive from it as AnytimeTrainer does from torchtitan's"
        )
    return AnytimeTrainer.Config(
        **_fields(config)
        | {
            "lr_scheduler": AnytimeLRSchedulers.Config(schedule=schedule),
            "averages": Averages.Config(tracks=list(tracks), every=every),
            "validator": AveragedValidator.Config(**_fields(config.validator)),
            "checkpoint": replace(
                config.checkpoint, enable=True, keep_latest_k=0, last_save_model_only=False
            ),
        }
    )


def decay_branch(
    trunk: AnytimeTrainer.Config,
    checkpoint: str | Path,
    *,
    steps: int,
    dump_folder: str | Path,
    shape: str = "linear",
    floor: float = 0.1,
) -> AnytimeTrainer.Config:
    """The configuration of a branch that decays the trunk's LR from one of its checkpoints on, and ends.

    The branch goes on with the trunk's weights, optimizer, averages and data; its first update has the decay's LR.
    Interrupted, it goes on from its own last checkpoint.

    Args:
        trunk: what `anytime` made.
        checkpoint: a folder of the trunk, ``.../step-N``; on the disk, or a remote one as torchtitan names it.
        steps: length of the decay, after which training stops.
        dump_folder: for what the branch writes; not the trunk's.
        shape: of the decay, as in `Schedule.decay`.
        floor: the end of the decay as a fraction of the LR it starts from.

    Raises:
        SettingError: the checkpoint's name has no step, or the branch's folder is the trunk's.
        ValueError: the decay cannot be.
    """
    named = re.fullmatch(r"step-(\d+)", str(checkpoint).rstrip("/").rpartition("/")[2])
    if named is None:
        raise SettingError(
            f"checkpoint: got {checkpoint}; must be a folder that torchtitan saved, .../step-N"
        )
    remote = "://" in str(checkpoint)
    path = str(checkpoint) if remote else str(Path(checkpoint).absolute())
    own = Path(dump_folder).resolve()
    if not remote and Path(path).resolve().is_relative_to(own):
        raise SettingError(
            f"dump_folder: got {dump_folder}, where the trunk's {named[0]} lies; must be another folder, "
            "or the trunk would go on there instead"
        )
    if own == Path(trunk.dump_folder).resolve():
        raise SettingError(f"dump_folder: got {dump_folder}, the trunk's own; must be another folder")
    at = int(named[1])
    decayed = trunk.lr_scheduler.schedule.decay(at=at, steps=steps, shape=shape, floor=floor)
    return AnytimeTrainer.Config(
        **_fields(trunk)
        | {
            "dump_folder": str(dump_folder),
            "lr_scheduler": AnytimeLRSchedulers.Config(schedule=decayed),
            "training": replace(trunk.training, steps=at + steps),
            "checkpoint": replace(trunk.checkpoint, initial_load_path=path, initial_load_model_only=False),
        }
    )


def _fields(config: Any) -> dict[str, Any]:
    return {entry.name: getattr(config, entry.name) for entry in fields(config)}
