"""torchtitan's container of LR schedulers, with any of riverrun's schedules in the place of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer

from riverrun.integrations.torch import AnytimeLR
from riverrun.schedules import Schedule


class AnytimeLRSchedulers(LRSchedulersContainer):  # type: ignore[misc]
    """An `AnytimeLR` for each optimizer, all with the same schedule; each parameter group keeps its peak LR.

    Before update s, the LR of each group is the "lr" of its ``ParamGroupConfig`` times ``schedule(s)``. How many steps
    are trained makes no difference, nor does the LR in a checkpoint: its position is taken, and nothing else.

    Args:
        optimizers: of torchtitan's trainer.
        schedule: gives the multiplier of the peak.
    """

    @dataclass(kw_only=True, slots=True)
    class Config(LRSchedulersContainer.Config):  # type: ignore[misc]
        """The place of ``lr_scheduler`` in a trainer's configuration.

        On the command line the schedule's fields are ``--lr_scheduler.schedule.offset`` and so on.
        """

        schedule: Schedule
        """Any of riverrun's; also as the table that ``to_dict`` makes, such as {"kind": "constant", "warmup": 2000}."""

        # Settings of torchtitan's own schedule, which cannot be given here. The trainer prints the first.
        warmup_steps: int = field(init=False)
        total_steps: None = field(init=False, default=None)
        decay_ratio: None = field(init=False, default=None)
        decay_type: str = field(init=False, default="")
        min_lr_factor: float = field(init=False, default=0.0)

        def __post_init__(self) -> None:
            if isinstance(self.schedule, Mapping):
                self.schedule = Schedule.from_dict(self.schedule)
            self.warmup_steps = self.schedule.warmup

        def build(self, *, optimizers: OptimizersContainer, training_steps: int) -> "AnytimeLRSchedulers":
            """The container; ``training_steps`` say when to stop, which no schedule sees."""
            return AnytimeLRSchedulers(optimizers, self.schedule)

    schedulers: list[AnytimeLR]

    def __init__(self, optimizers: OptimizersContainer, schedule: Schedule) -> None:
        self.schedulers = [AnytimeLR(optimizer, schedule) for optimizer in optimizers]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the position in a state of this container or of torchtitan's own, which look the same."""
        for scheduler in self.schedulers:
            scheduler.load_state_dict({"position": state_dict["last_epoch"]})
