"""A schedule as a PyTorch LRScheduler whose state is the position."""

import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from riverrun.schedules import Schedule
from riverrun.sharding import shard


class AnytimeLR(LRScheduler):
    """Sets the LR of every parameter group for update s to the group's peak times ``schedule(s)``.

    It is stepped after each ``optimizer.step()``, as any scheduler; ``last_epoch`` is the position, the number of
    updates done. The schedule comes from the script and is never saved: a branch is this class with another schedule,
    given the trunk's state. Before each update the LR is what the schedule says, also where an optimizer's state was
    loaded that brought another LR along, or a group was added.

    Args:
        optimizer: its groups may have LRs of their own, numbers or tensors; groups added later take part.
        schedule: gives the multiplier of the peak.
        peak_lr: one for all groups, or one for each. Default: each group's "initial_lr" if it has one (where an
            optimizer's state was loaded before, that of the run it came from), else its "lr".
        position: the number of updates done.

    Attributes:
        schedule: as given; it may be replaced, followed by `sync`.
        base_lrs: the peak of each group.

    Raises:
        ValueError: as many peaks as groups were not given.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        peak_lr: float | Sequence[float] | None = None,
        position: int = 0,
    ) -> None:
        self.schedule = schedule
        self._written: list[tuple[float | Tensor, int]] = []
        _set_peaks(optimizer, peak_lr)
        super().__init__(optimizer)
        if position:
            self.last_epoch = position
            self.sync()
        self._watch()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy watches over its own optimizer, which has left its hooks behind."""
        self.__dict__.update(state)
        self._watch()

    @property
    def position(self) -> int:
        """The number of updates done: all of its state."""
        return self.last_epoch

    def get_lr(self) -> list[float | Tensor]:
        """The LR of each group for the next update."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(float(group.get("initial_lr", group["lr"])))
        multiplier = self.schedule(self.last_epoch + 1)
        return [peak * multiplier for peak in self.base_lrs]

    def sync(self) -> None:
        """Write the LR of this position into every group, and its peak: after a load, or a change of the schedule."""
        rates = self.get_lr()
        for number, (group, peak, lr) in enumerate(
            zip(self.optimizer.param_groups, self.base_lrs, rates, strict=True)
        ):
            before = self._written[number][0] if number < len(self._written) else group["lr"]
            # The same tensor as ever: compiled code and captured graphs hold on to it.
            group["lr"] = before.fill_(lr) if isinstance(before, Tensor) else lr
            group["initial_lr"] = peak
        self._note_written()

    def state_dict(self) -> dict[str, Any]:
        """``{"position": n}``: loads under ``weights_only=True``."""
        return {"position": self.last_epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a position, and write the LR that this schedule has there.

        Of the state of another scheduler, which has a "last_epoch", the position is taken and nothing else, with a
        warning.

        Raises:
            ValueError: the state has no position.
        """
        if "position" in state_dict:
            self.last_epoch = int(state_dict["position"])
        elif "last_epoch" in state_dict:
            self.last_epoch = int(state_dict["last_epoch"])
            warnings.warn(
                f"scheduler state: of another scheduler; its position, {self.last_epoch}, is taken, and nothing else",
                stacklevel=2,
            )
        else:
            raise ValueError(
                f"scheduler state: got {sorted(state_dict)}; must have 'position'. "
                "To begin at a position, give AnytimeLR(..., position=N)"
            )
        self.sync()

    def _update_lr(self, epoch: int | None = None) -> None:
        """What `step` calls: a position further, or to another one, then the LR."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self.sync()

    def _watch(self) -> None:
        this = weakref.ref(self)

        def before_update(optimizer: Optimizer, *arguments: Any) -> None:
            scheduler = this()
            if scheduler is not None and scheduler._is_disturbed() and not _makes_state(optimizer):
                scheduler.sync()

        self.optimizer.register_step_pre_hook(before_update)

    def _is_disturbed(self) -> bool:
        """Whether somebody else has put an LR into a group, or added one."""
        groups = self.optimizer.param_groups
        return len(groups) != len(self._written) or any(
            group["lr"] is not own or own._version != version
            if isinstance(own, Tensor)
            else group["lr"] != own
            for group, (own, version) in zip(groups, self._written, strict=True)
        )

    def _note_written(self) -> None:
        rates: list[float | Tensor] = [group["lr"] for group in self.optimizer.param_groups]
        # To read a tensor would have the processor wait for its device; its version tells who else wrote to it.
        self._written = [(lr, lr._version if isinstance(lr, Tensor) else 0) for lr in rates]
        self._last_lr = [lr.clone() if isinstance(lr, Tensor) else lr for lr in rates]


def _set_peaks(optimizer: Optimizer, peak_lr: float | Sequence[float] | None) -> None:
    """Give each group its peak as a number."""
    groups = optimizer.param_groups
    if peak_lr is None:
        peak_lr = [group.get("initial_lr", group["lr"]) for group in groups]
    peaks = list(peak_lr) if isinstance(peak_lr, Sequence) else [peak_lr] * len(groups)
    if len(peaks) != len(groups):
        raise ValueError(f"peak_lr: got {len(peaks)}; must be one, or {len(groups)}, one for each group")
    for group, peak in zip(groups, peaks, strict=True):
        group["initial_lr"] = float(peak)


def _makes_state(optimizer: Optimizer) -> bool:
    """Whether it is a step without LR and gradients, by which distributed checkpoints make an optimizer its state.

    It must change no parameter; at the schedule's LR, weight decay would.
    """
    return all(float(group["lr"]) == 0 for group in optimizer.param_groups) and not any(
        shard(parameter.grad).any()
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    )
