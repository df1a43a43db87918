"""How a claim is decided: by intervals that lie on one side of a limit, or do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from riverrun.compare.intervals import Interval, in_mnats

Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Claim:
    """A statement, whether the runs bear it out, and the numbers that say so, on one line."""

    statement: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class Part:
    """What a claim says at one budget: the true mean lies on one side of a limit.

    Attributes:
        label: the budget, and what is measured where that is not plain.
        interval: of the mean, in nats.
        side: where the claim says the mean lies, "below" or "above" the limit.
        limit: in nats.
        detail: what else the evidence should show here.
    """

    label: str
    interval: Interval
    side: Literal["below", "above"]
    limit: float = 0.0
    detail: str = ""

    @property
    def verdict(self) -> Verdict:
        """Decided if the whole interval lies on one side of the limit."""
        sign = 1 if self.side == "below" else -1
        least, most = sorted(sign * (bound - self.limit) for bound in (self.interval.low, self.interval.high))
        return "holds" if most < 0 else "fails" if least > 0 else "undecided"

    def __str__(self) -> str:
        """The label, the interval in thousandths of a nat, and the detail."""
        return f"{self.label} {in_mnats(self.interval)}{f' ({self.detail})' if self.detail else ''}"


def decide(statement: str, measure: str, parts: Sequence[Part], remark: str = "") -> Claim:
    """A claim over several budgets: holds if it holds at each, fails if it fails at any, else is undecided.

    Args:
        statement: what is claimed.
        measure: what the numbers are; the evidence begins with it.
        parts: at least one.
        remark: what the evidence ends with.
    """
    verdicts = [part.verdict for part in parts]
    verdict: Verdict = (
        "fails" if "fails" in verdicts else "holds" if set(verdicts) == {"holds"} else "undecided"
    )
    evidence = f"{measure}, in thousandths of a nat: {', '.join(map(str, parts))}; {_seeds(parts)}"
    return Claim(statement, verdict, evidence + (f"; {remark}" if remark else "") + ".")


def _seeds(parts: Sequence[Part]) -> str:
    counts = sorted({part.interval.count for part in parts if not math.isnan(part.interval.mean)})
    if not counts:
        return "no seed with a finite difference"
    fewest, most = counts[0], counts[-1]
    return f"{fewest} to {most} seeds" if fewest < most else f"{most} seed{'s' if most > 1 else ''}"
