"""What a comparison measured, as plain data: one `Result` per method, budget, seed and point of the sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Point = tuple[tuple[str, Any], ...]
"""One point of a sweep: (setting, value) pairs, such as (("optimizer.peak_lr", 0.002),)."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the table: what one would do to have a model at each budget.

    Attributes:
        arm: the arm's name in the plan.
        readout: "raw", or an average such as "ema-25".
        kind: the arm's kind, such as "constant", "wsd" or "cosine".
        per_budget: whether each budget has a run of its own, and so may have settings of its own. One run for all
            budgets has one point of the sweep for all of them.
        axes: setting -> the values swept, in the plan's order.
        shape: of its decays, for the kinds that have some.
    """

    arm: str
    readout: str
    kind: str
    per_budget: bool
    axes: dict[str, tuple[Any, ...]]
    shape: str = ""

    @property
    def name(self) -> str:
        """The arm, and the readout where it is not what the arm trains: "constant + ema-25"."""
        return self.arm if self.plain else f"{self.arm} + {self.readout}"

    @property
    def plain(self) -> bool:
        """Whether the readout is what the arm trains: the raw weights, or the average that Schedule-Free is about."""
        return self.readout == ("schedule-free" if self.kind == "schedule-free" else "raw")


@dataclass(frozen=True)
class Reading:
    """A held-out loss (nats per token, on the report windows) at a position."""

    step: int
    tokens: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model that a method gave for a budget.

    Attributes:
        method: `Method.name`.
        budget: the budget as the plan writes it, such as "2x".
        seed: of weights and data order.
        point: the settings it was trained with.
        step, tokens: where the model stands; `tokens` is what it alone cost, the trunk's prefix included.
        total_tokens: what it cost together with the models of all smaller budgets, shared stretches counted once.
        loss: held-out nats per token on the report windows.
        select: the same on the windows to choose by.
        mean_lr: mean learning rate over all updates on the way to it.
        curve: readings of the same readout on the way to it, the last one its own.
        before_decay: the raw weights' reading at the position where its last decay began; None without a decay.
        lrs: (tokens, learning rate) along the way, thinned for drawing.
    """

    method: str
    budget: str
    seed: int
    point: Point
    step: int
    tokens: int
    total_tokens: int
    loss: float
    select: float
    mean_lr: float
    curve: tuple[Reading, ...]
    before_decay: Reading | None
    lrs: tuple[tuple[int, float], ...]
