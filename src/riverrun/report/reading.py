"""What is on disk of a node, each file read once: its lines as columns, readouts, events.

Whoever trains may append, cut back or remove while this reads: what is whole counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from riverrun.runs import Node
from riverrun.runs.metrics import Record, read_records
from riverrun.runs.node import evaluated
from riverrun.train.costs import Readout, readouts_in, recorded_plan
from riverrun.train.plan import Plan

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Line:
    """Values [n] along a node at steps [n] and tokens [n], which increase; NaN where a value was no number."""

    tokens: Integers
    steps: Integers
    values: Floats


@dataclass(frozen=True, eq=False)
class Read:
    """A node as it lay there at one moment.

    Attributes:
        node, plan: which, and its plan.
        lines: by the keys of its record.
        readouts: all whose losses are finite, those of averages made after the fact among them.
        events, sweeps: their records.
        step: where it stands.
        skipped: updates left out so far.
    """

    node: Node
    plan: Plan
    lines: dict[str, Line]
    readouts: list[Readout]
    events: list[Record]
    sweeps: list[Record]
    step: int
    skipped: int


def read_node(node: Node) -> Read:
    """Read a node.

    Raises:
        RiverrunError: its node.json cannot be read, or has no recipe of this version.
        OSError, ValueError, KeyError, TypeError, AttributeError: another file cannot be read, or has other content.
    """
    plan = recorded_plan(node)
    records = read_records(node.metrics_path)
    steps = np.array([record["step"] for record in records], np.int64)
    kept = standing(steps)
    records = records if kept.size == steps.size else [records[index] for index in kept]
    on_top = read_records(node.evaluations_path)
    positions = evaluated([*on_top, *records])
    fork = [node.parent.step] if node.parent else []
    ends = [merged.step for merged in node.merged[-1:]]
    saved = [checkpoint.step for checkpoint in node.checkpoints()]
    return Read(
        node=node,
        plan=plan,
        lines=_lines(records, positions),
        readouts=[one for one in readouts_in(node, [*positions, *node.averages()]) if _is_finite(one)],
        events=read_records(node.path / "events.jsonl"),
        sweeps=read_records(node.sweeps_path),
        step=max([*saved, *(record["step"] for record in records[-1:]), *fork, *ends], default=0),
        skipped=max((record.get("skipped", 0) for record in records[-1:]), default=0),
    )


def standing(steps: Integers) -> Integers:
    """The indices of positions [n] that no equal or lower one follows: what a resume went back over does not count."""
    if not steps.size:
        return steps
    lowest_after = np.minimum.accumulate(steps[::-1])[::-1]
    return np.flatnonzero(np.append(steps[:-1] < lowest_after[1:], True))


def _is_finite(readout: Readout) -> bool:
    return all(map(math.isfinite, (readout.compared, readout.loss, readout.bits_per_byte)))


def _of_a_readout(key: str) -> bool:
    return key.startswith("loss/") and key != "loss/train"


def _is_no_curve(key: str) -> bool:
    """Positions, counts, and bits per byte, which are losses in another unit."""
    return key in ("step", "tokens", "skipped") or key.startswith(("bpb/", "select/"))


def _lines(records: Sequence[Record], positions: Sequence[Record]) -> dict[str, Line]:
    """Each key's values: those of readouts from the positions that were read out, all else from the whole record."""
    found = {}
    for several, readouts in ((records, False), (positions, True)):
        steps = np.array([record["step"] for record in several], np.int64)
        tokens = np.array([record["tokens"] for record in several], np.int64)
        for key in dict.fromkeys(chain.from_iterable(several)):
            if _is_no_curve(key) or _of_a_readout(key) != readouts:
                continue
            has = np.array([key in record for record in several])
            at = slice(None) if has.all() else has  # most keys are in every record, and share its positions
            values = np.array([record[key] for record in several if key in record], np.float64)
            found[key] = Line(tokens[at], steps[at], values)
    return found
