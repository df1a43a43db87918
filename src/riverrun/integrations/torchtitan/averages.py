"""Averages of the weights as a component of torchtitan: kept after each update, saved in its checkpoints."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint.stateful import Stateful
from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer
from torchtitan.config import Configurable

from riverrun.averaging import parse_profile
from riverrun.integrations.torch import Averager

AVERAGES = "averages"
"""The key in torchtitan's checkpoints."""


class Averages(Stateful, Configurable):  # type: ignore[misc]
    """Averages of the trainable parameters, in fp32, of all the parts of the model that this rank has.

    They are updated when the container's ``step`` is done, from then on without being asked; the position is that of
    the LR schedulers. On FSDP2 shards without communication.

    Args:
        config: which averages.
        model_parts: the model, or this rank's parts of it under pipeline parallelism.
        optimizers: whose ``step`` makes an update.
        lr_schedulers: count the updates: an `AnytimeLRSchedulers`, or torchtitan's own.

    Raises:
        ValueError: a profile that cannot be kept online, or the same one twice.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(Configurable.Config):  # type: ignore[misc]
        """The place of ``averages`` in a trainer's configuration."""

        tracks: list[str] = field(default_factory=lambda: ["half-life:25"])
        """The averages to keep, by their specs; each costs 4 bytes per parameter."""

        every: int = 1
        """Updates of the averages are made at steps divisible by it; the gap enters the weights."""

        def __post_init__(self) -> None:
            for track in self.tracks:
                parse_profile(track)

    def __init__(
        self,
        config: Config,
        *,
        model_parts: list[nn.Module],
        optimizers: OptimizersContainer,
        lr_schedulers: LRSchedulersContainer,
    ) -> None:
        self._averagers = [Averager(part, config.tracks, every=config.every) for part in model_parts]

        def after_update(*arguments: Any) -> None:
            self.update(lr_schedulers.schedulers[0].last_epoch + 1)  # which step after the optimizers

        optimizers.register_step_post_hook(after_update)

    @property
    def names(self) -> list[str]:
        """Of the averages, such as "ema-25"."""
        return self._averagers[0].names

    @property
    def step(self) -> int:
        """The position of the last update that was taken in; 0 before the first."""
        return self._averagers[0].step

    def update(self, step: int) -> None:
        """Take in the parameters after update ``step``; see `Averager.update`."""
        for averager in self._averagers:
            averager.update(step)

    @contextmanager
    def applied(self, name: str) -> Iterator[None]:
        """Have an average in the model's place for a ``with`` block, however that ends; "raw" changes nothing.

        Raises:
            ValueError: an unknown name, or no update yet.
        """
        with ExitStack() as stack:
            for averager in self._averagers:
                stack.enter_context(averager.applied(name))
            yield

    def average(self, name: str) -> dict[str, Tensor]:
        """An average by the names of the parameters of all parts; see `Averager.average`."""
        return {key: value for averager in self._averagers for key, value in averager.average(name).items()}

    def state_dict(self) -> dict[str, Any]:
        """For a sharded save: the averages by track and parameter, DTensors where the parameters are, and counters."""
        state, *others = (averager.state_dict() for averager in self._averagers)
        for other in others:
            for name, track in other["tracks"].items():
                state["tracks"][name]["average"].update(track["average"])
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`, bit for bit."""
        for averager in self._averagers:
            tracks = {
                name: {**state_dict["tracks"][name], "average": _some(state_dict, name, own["average"])}
                for name, own in averager.state_dict()["tracks"].items()
            }
            averager.load_state_dict({**state_dict, "tracks": tracks})


def _some(state: dict[str, Any], name: str, own: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: state["tracks"][name]["average"][key] for key in own}
