"""What `configure_optimizers` returns for a schedule."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from riverrun.integrations.torch import AnytimeLR
from riverrun.schedules import Schedule


def anytime_config(
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    peak_lr: float | Sequence[float] | None = None,
    position: int = 0,
) -> dict[str, Any]:
    """An `AnytimeLR` that Lightning steps after every update, not after every epoch, which is its default.

    Returns:
        The value of ``"lr_scheduler"`` in what ``configure_optimizers`` returns:
        ``{"optimizer": optimizer, "lr_scheduler": anytime_config(optimizer, schedule)}``. The arguments are those of
        `AnytimeLR`.
    """
    scheduler = AnytimeLR(optimizer, schedule, peak_lr=peak_lr, position=position)
    return {"scheduler": scheduler, "interval": "step", "frequency": 1}
