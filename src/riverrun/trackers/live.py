"""Feeding trackers while a node trains, without training noticing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from riverrun.runs import Node
from riverrun.trackers.feed import feeding

_SECONDS_BETWEEN_LOOKS = 1.0
_PATIENCE = 60.0
"""Seconds that the end of training waits for trackers to take what is left."""


@contextmanager
def fed_live(
    node: Node, trackers: Sequence[str], tell: Callable[[str], None], patience: float
) -> Iterator[None]:
    """Meanwhile each tracker is fed from the node's record, and at the end given the rest of it.

    Each has a thread of its own, so one that is slow holds up neither training nor the others. One that fails is given
    up, with one warning in the node's events; what it lacks can be sent later.

    Args:
        node: whose record it is.
        trackers: by name; none are fine.
        tell: takes a line for whoever watches, from those threads: where the metrics go, and what went wrong.
        patience: seconds that other ranks wait for this one; the end takes half of them at the most.
    """
    over = threading.Event()

    def feed(tracker: str) -> None:
        try:
            with feeding(node, tracker) as opened:
                ended = told = False
                while not ended:
                    ended = over.wait(_SECONDS_BETWEEN_LOOKS)
                    sent = opened.send() if ended else opened.send_settled()
                    if sent and not told:
                        tell(f"metrics go to {tracker}: {opened.sink.look}")
                        told = True
        except Exception as error:
            give_up(tracker, str(error))

    def give_up(tracker: str, why: str) -> None:
        again = f"riverrun track {node.run} --to {tracker} --node {node.id}"
        text = f"{why}. Nothing more goes to {tracker} now; send the rest later with: {again}"
        tell(text)
        with suppress(OSError):  # where the disk is full, this is too much as well
            node.event("warning", text=text)

    # Daemons: a tracker that hangs must not keep the process from ending.
    threads = {
        tracker: threading.Thread(target=feed, args=(tracker,), name=tracker, daemon=True)
        for tracker in trackers
    }
    for thread in threads.values():
        thread.start()
    try:
        yield
    finally:
        over.set()
        wait = min(_PATIENCE, patience / 2)
        deadline = time.monotonic() + wait
        for tracker, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                give_up(tracker, f"{tracker}: has not taken all after {wait:.0f} seconds")
