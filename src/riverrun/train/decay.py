"""A decay to branch off with, and where it begins and ends, by the accounting of `riverrun.schedules.WSDS`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from riverrun.errors import SettingError
from riverrun.schedules import WSD, WSDS, Continued, Decayed, Schedule
from riverrun.schedules.shapes import check_floor, decay_shape
from riverrun.train.plan import Plan
from riverrun.units import Duration

Span = tuple[int, int]
"""The positions at which a decay begins and ends."""
Accounting = Literal["budget", "cycle", "cumulative"]
Length = Fraction | Duration
"""Of a decay: a share of what its accounting counts, or so much training."""


@dataclass(frozen=True, kw_only=True)
class Decay:
    """A decay to branch off with: shape, length, what a share of it counts (see `WSDS`), last fraction of the LR."""

    shape: str = "linear"
    length: Length = Fraction(1, 10)
    of: Accounting = "budget"
    floor: float = 0.1

    def __post_init__(self) -> None:
        try:
            decay_shape(self.shape)
        except ValueError as error:
            complaint = str(error).removeprefix("shape: ").replace("must be one of", "must be none or one of")
            raise SettingError(f"--decay: {complaint}") from None
        if not 0 <= self.floor <= 1:
            raise SettingError(f"--floor: got {self.floor:g}; must be a fraction from 0 to 1")
        try:
            check_floor(self.shape, self.floor)
        except ValueError as error:
            raise SettingError(f"--{error}") from None


TENTH = Decay()
"""What is decayed with unless something else is asked for: linear, a tenth of the budget, to a tenth."""


def parse_length(text: str) -> Length:
    """`"10%"`, `"500 steps"` or `"65M tokens"`."""
    share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if share is None:
        try:
            length = Duration.parse(text)
        except SettingError as error:
            raise SettingError(f'--length: {error}, or a share like "10%"') from None
        if not length.amount:
            raise SettingError(f'--length: got "{text}"; must be at least one step')
        return length
    fraction = Fraction(share[1]) / 100
    if not 0 < fraction < 1:
        raise SettingError(f'--length: got "{text}"; must be more than 0% and less than 100%')
    return fraction


def span_for_budget(plan: Plan, before: Sequence[Span], budget: Duration, decay: Decay) -> Span:
    """Where a decay for a budget begins and ends; the boundaries of `WSDS` follow the same accounting.

    Of the decays of the schedule only those count that lie before it.
    """
    for count in range(len(before), -1, -1):
        start, end = _span_after(plan, before[:count], budget, decay)
        if count == 0 or before[count - 1][1] <= start < end:
            break
    if start < 0:
        raise SettingError(f'--length: got "{_written(decay.length)}"; is longer than the budget of {budget}')
    if start == end:
        raise SettingError(f"--length: a decay of no steps at the budget of {budget}; make it longer")
    if count == 0 and before and start > before[0][0]:
        first, last = max(span for span in before if span[0] < start)
        raise SettingError(
            f"--budget: got {budget}; the decay would begin at step {start:,}, within the one from {first:,} to "
            f"{last:,}"
        )
    return start, end


def _span_after(plan: Plan, before: Sequence[Span], budget: Duration, decay: Decay) -> Span:
    """Where the decay begins and ends if just these came before; it may begin before 0."""
    nominal = plan.step_at(budget)
    spent = sum(last - first for first, last in before)
    last_end = max((last for _, last in before), default=0)
    end = nominal + spent if decay.of == "budget" else nominal
    if isinstance(decay.length, Fraction):
        start = end - round(decay.length * (nominal - last_end if decay.of == "cycle" else nominal))
    else:  # the last position from which so much training ends in time
        length = decay.length
        start = bisect_right(range(end + 1), end, key=lambda position: _after(plan, position, length)) - 1
    return start, end


def _written(length: Length) -> str:
    return f"{float(100 * length):g}%" if isinstance(length, Fraction) else str(length)


def end_from(plan: Plan, before: Sequence[Span], start: int, decay: Decay) -> int:
    """Where a decay from position `start` ends."""
    done = [(first, min(last, start)) for first, last in before if first < start]
    if isinstance(decay.length, Duration):
        return _after(plan, start, decay.length)
    uncounted = {
        "budget": sum(last - first for first, last in done),
        "cycle": max((last for _, last in done), default=0),
        "cumulative": 0,
    }[decay.of]
    return round((start - uncounted) / (1 - decay.length)) + uncounted


def _after(plan: Plan, start: int, length: Duration) -> int:
    """The position at which `length` more is trained."""
    if length.unit == "steps":
        return start + int(length.amount)
    tokens = plan.tokens(start) + length.tokens(plan.tokens_per_x)
    return plan.step_at(Duration(Fraction(tokens), "tokens"))


def decays_of(schedule: Schedule) -> Iterator[Span]:
    """All decays of a schedule, in order."""
    if isinstance(schedule, WSD | WSDS):
        yield from schedule.boundaries
    elif isinstance(schedule, Decayed):
        yield from decays_of(schedule.base)
        yield schedule.at, schedule.end
    elif isinstance(schedule, Continued):
        yield from (span for span in decays_of(schedule.base) if span[1] <= schedule.at[0])


def end_of(schedule: Schedule) -> int | None:
    """The position that a schedule with a horizon leads to; None for one without."""
    if schedule.horizon_free:
        return None
    # Where a decay holds its floor, what its base would have done later is never reached.
    if isinstance(schedule, Decayed) and schedule.after == "hold":
        return schedule.end
    return max(schedule.knots(), default=None)
