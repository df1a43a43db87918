"""For torchtitan 0.3: an LR container without a horizon, averages in its checkpoints, decay branches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from riverrun.extras import require_packages
from riverrun.integrations.torchtitan.needed import needed
from riverrun.integrations.torchtitan.saved_averages import read_average

require_packages("riverrun.integrations.torchtitan", "torchtitan", {"torchtitan": "its trainer"})

with needed():
    from riverrun.integrations.torchtitan.averages import Averages
    from riverrun.integrations.torchtitan.lr_schedulers import AnytimeLRSchedulers

if TYPE_CHECKING:
    from riverrun.integrations.torchtitan.configs import anytime, decay_branch
    from riverrun.integrations.torchtitan.trainer import AnytimeTrainer
    from riverrun.integrations.torchtitan.validator import AveragedValidator

__all__ = [
    "AnytimeLRSchedulers",
    "AnytimeTrainer",
    "AveragedValidator",
    "Averages",
    "anytime",
    "decay_branch",
    "read_average",
]

# What imports torchtitan's models, and with them triton, which torch brings along for GPUs only.
_WITH_MODELS = {
    "AnytimeTrainer": "trainer",
    "AveragedValidator": "validator",
    "anytime": "configs",
    "decay_branch": "configs",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_MODELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needed():
        return getattr(import_module(f"{__name__}.{_WITH_MODELS[name]}"), name)
