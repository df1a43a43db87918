"""Settings of a Trainer that contradict a schedule of the position, or averages."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from riverrun.errors import SettingError


def refuse_what_cannot_work(trainer: Any) -> None:
    """Raise `SettingError` where a new `AnytimeMixin` could not set the LR, or see the weights."""
    if trainer.lr_scheduler is not None:
        raise SettingError(
            "optimizers: got a scheduler; must be (optimizer, None), for the LR comes from schedule"
        )
    if trainer.is_deepspeed_enabled:
        raise SettingError(
            "deepspeed: is set; must be left out, for its engine keeps the weights to itself. Use FSDP2"
        )
    if trainer.is_fsdp_enabled and trainer.accelerator.state.fsdp_plugin.fsdp_version != 2:
        raise SettingError("fsdp_version: got 1; must be 2, for averages are made of FSDP2's shards")


def tell_what_does_nothing(args: Any) -> None:
    """Warn of training arguments that were set for the schedule that there is not."""
    defaults: Mapping[str, Any] = {
        "lr_scheduler_type": "linear",
        "lr_scheduler_kwargs": None,
        "warmup_steps": 0,
    }
    given = [name for name, usual in defaults.items() if getattr(args, name) not in (usual, {})]
    if given:
        warnings.warn(
            f"{', '.join(given)}: set, and does nothing: the LR, its warm-up too, comes from schedule",
            stacklevel=3,
        )


def check_apart(sets: Iterable[str], names: Sequence[str]) -> None:
    """Raise `SettingError` where a set is called what another set's average is.

    Args:
        sets: the names of the evaluation sets.
        names: of the averages, "ema-25".
    """
    averaged = {f"{of}_{name}" for of in sets for name in names}
    for clash in averaged.intersection(sets):
        raise SettingError(
            f"eval_dataset: got a set {clash!r}; must be called otherwise: an average has this name"
        )
