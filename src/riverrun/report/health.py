"""How training went: what was left out, how often it was interrupted, how fast it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from riverrun.report import schema
from riverrun.report.curves import curve
from riverrun.report.reading import Line, Read, standing
from riverrun.runs.metrics import Record
from riverrun.train.plan import Plan

_MOST_EVENTS = 50
_MOST_RATES = 300
_OF_NOTE = ("start", "stop", "straggler", "warning")


def health_of(read: Read) -> schema.Health:
    """From a node's record and its events; of those the latest fifty."""
    events = [_event(record) for record in read.events if record.get("event") in _OF_NOTE]
    return {
        "skipped": read.skipped,
        "starts": sum(record.get("event") == "start" for record in read.events),
        "interruptions": interruptions(read.events),
        "throughput": curve(_rates(read.events, read.plan), _MOST_RATES),
        "events": events[-_MOST_EVENTS:],
    }


def interruptions(events: Sequence[Record]) -> int:
    """How many stretches of training ended before the position that they were to reach, by a kill, signal or fault.

    The last one may still be going on where no event tells its end; where none was to be reached, any end will do.
    """
    found, running = 0, None
    for record in events:
        if record.get("event") == "start":
            found += running is not None
            running = record
        elif record.get("event") == "stop" and running is not None:
            until = running.get("until")
            found += "reason" in record or (until is not None and record["step"] < until)
            running = None
    return found


def _rates(events: Sequence[Record], plan: Plan) -> Line:
    """Tokens per second; what a resume went back over does not count."""
    noted = [record for record in events if record.get("event") == "throughput"]
    steps = np.array([record["step"] for record in noted], np.int64)
    kept = standing(steps)
    return Line(
        tokens=np.array([plan.tokens(int(step)) for step in steps[kept]], np.int64),
        steps=steps[kept],
        values=np.array([noted[index]["tokens_per_second"] for index in kept], np.float64),
    )


def _event(record: Record) -> schema.Event:
    return {
        "time": record["time"],
        "event": record["event"],
        "step": record.get("step"),
        "text": _text(record),
    }


def _text(record: Record) -> str:
    if record["event"] == "start":
        ranks = record.get("ranks", 1)
        on = "" if ranks == 1 else f" on {ranks} ranks"
        until = record.get("until")
        return f"from step {record['step']:,}" + (f" until {until:,}" if until is not None else "") + on
    if record["event"] == "stop":
        return f"at step {record['step']:,}" + (f": {record['reason']}" if "reason" in record else "")
    return str(record.get("text", ""))
