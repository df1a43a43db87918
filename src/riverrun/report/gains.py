"""What each decay brought: the raw loss where it began and where it ended."""

from __future__ import annotations

from collections.abc import Mapping

from riverrun.report import schema
from riverrun.report.places import place
from riverrun.report.reading import Read
from riverrun.runs.node import Fork
from riverrun.schedules import Decayed
from riverrun.train.costs import Readout


def gains(reads: Mapping[str, Read], notes: list[str]) -> list[schema.Gain]:
    """One for each branch that decays from its fork and has come to the decay's end.

    `notes` gets those whose loss before the decay is of a position before the fork, as no readout was made there.
    """
    found: list[schema.Gain] = []
    early: list[str] = []
    for read in reads.values():
        fork, schedule = read.node.parent, read.plan.schedule
        if fork is None or not isinstance(schedule, Decayed) or schedule.at != fork.step:
            continue
        before = _raw_before(reads, fork)
        after = next((one for one in _raw(read) if one.step >= schedule.end), None)
        if before is None or after is None:
            continue
        if before.step < fork.step:
            early.append(f"{read.node.id} {fork.step - before.step:,}")
        found.append(
            {
                "node": read.node.id,
                "at": place(fork.node, fork.step, read.plan),
                "end": place(read.node.id, after.step, read.plan),
                "before": before.loss,
                "after": after.loss,
            }
        )
    if early:
        notes.append(
            "The raw loss before a decay is that of the last readout, which lies before the fork by so many steps: "
            f"{', '.join(early)}"
        )
    return found


def _raw(read: Read) -> list[Readout]:
    return sorted((one for one in read.readouts if one.name == "raw"), key=lambda one: one.step)


def _raw_before(reads: Mapping[str, Read], fork: Fork) -> Readout | None:
    """The last raw readout at or before a fork, of the parent or of the nodes above it."""
    above: Fork | None = fork
    while above is not None and above.node in reads:
        read = reads[above.node]
        raw = [one for one in _raw(read) if one.step <= above.step]
        if raw:
            return raw[-1]
        above = read.node.parent
    return None
