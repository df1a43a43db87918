"""The number of updates done, in a run of Lightning's Trainer."""

import warnings
from typing import Any

from riverrun.errors import SettingError
from riverrun.integrations.torch import AnytimeLR


class Position:
    """The position of the run: that of the first `AnytimeLR`, or Lightning's count where there is none.

    Lightning counts the steps of all optimizers together, and moves a scheduler also where a batch ended the epoch
    before its update, or was None. In automatic optimization, which has one optimizer, its count is right and the
    schedule is held to it; in manual optimization the schedule is moved by the module, and is right.

    Args:
        trainer: it has restored its state, and not begun to train.

    Raises:
        SettingError: the schedule is stepped by epochs, or nothing counts the updates.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._automatic = trainer.lightning_module.automatic_optimization
        ours = [config for config in trainer.lr_scheduler_configs if isinstance(config.scheduler, AnytimeLR)]
        self._schedule: AnytimeLR | None = ours[0].scheduler if ours else None
        if self._automatic:
            for config in ours:
                _check_interval(config)
            self._take_restored_count()
        elif not ours and len(trainer.optimizers) > 1:
            raise SettingError(
                f"lr_scheduler: got none for {len(trainer.optimizers)} optimizers, whose steps Lightning counts "
                "together; one must have an AnytimeLR, as anytime_config makes it, whose steps are then the updates"
            )
        self._ahead = self.now() - trainer.global_step

    def now(self) -> int:
        """The number of updates done."""
        return self._schedule.position if self._schedule is not None else self._trainer.global_step

    def hold_schedule(self) -> None:
        """Take back what moved the schedule without an update: to be called after each batch and epoch."""
        done = self._trainer.global_step + self._ahead
        if self._automatic and self._schedule is not None and self._schedule.position != done:
            self._schedule.load_state_dict({"position": done})

    def _take_restored_count(self) -> None:
        """From a checkpoint whose scheduler counted epochs, or that had none, the position comes as Lightning's count.

        A schedule further on than that is one that began there, for weights trained before.
        """
        done = self._trainer.global_step
        if self._trainer.ckpt_path and self._schedule is not None and self._schedule.position < done:
            warnings.warn(
                f"lr_scheduler: the checkpoint's gives position {self._schedule.position}, but it was made after "
                f"{done} updates; goes on from {done}",
                stacklevel=2,
            )
            self._schedule.load_state_dict({"position": done})


def _check_interval(config: Any) -> None:
    if (config.interval, config.frequency) != ("step", 1):
        raise SettingError(
            f'lr_scheduler: got interval "{config.interval}", frequency {config.frequency} for AnytimeLR; must be '
            '"step" and 1. Return {"optimizer": optimizer, "lr_scheduler": anytime_config(optimizer, schedule)}'
        )
