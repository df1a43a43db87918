"""`riverrun track`: a run's metrics in a tracker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.runs import Node, Tree
    from riverrun.trackers import Feed

_SECONDS_BETWEEN_LOOKS = 1.0


def track(
    run: Positional[Path], *, to: str | None = None, node: str | None = None, follow: bool = False
) -> int:
    """Send the metrics of a run to a tracker; called again, it sends what is new.

    Each node becomes a run of the tracker, in a group with the tree's name. metrics.trackers in a recipe does the same
    while the run trains.

    Args:
        run: directory of the run.
        to: tensorboard, wandb, trackio or mlflow; must be given. Each is set up by its own environment variables.
        node: trunk, or the name of a branch; all nodes if not given.
        follow: go on with what is written from now on, also by new nodes, until interrupted.
    """
    from riverrun.errors import SettingError
    from riverrun.runs import Tree
    from riverrun.trackers import TRACKERS, check_tracker, require_tracker

    if to is None:
        raise SettingError(f"--to: got nothing; name one of {', '.join(TRACKERS)}")
    try:
        check_tracker("--to", to)
    except ValueError as error:
        raise SettingError(str(error)) from None
    require_tracker("--to", to)
    tree = Tree.open(run)
    return _follow(tree, node, to) if follow else _send(tree, node, to)


def _nodes(tree: Tree, name: str | None) -> list[Node]:
    return tree.nodes() if name is None else [tree.node(name)]


def _send(tree: Tree, name: str | None, tracker: str) -> int:
    """Send what there is, node by node."""
    from riverrun.trackers import feeding

    feeds = []
    for node in _nodes(tree, name):
        with feeding(node, tracker) as feed:
            lines = feed.send()
        _say(node, feed, lines)
        feeds.append(feed)
    _say_where(feeds, told=set())
    return 0


def _follow(tree: Tree, name: str | None, tracker: str) -> int:
    """Send what there is and what comes, of all nodes at once, until a signal asks to leave.

    Steps are sent when they are settled, and the last ones on leaving.
    """
    import time
    from contextlib import ExitStack

    from riverrun.trackers import feeding
    from riverrun.train.signals import StopSignals

    feeds: dict[str, Feed] = {}
    told: set[str] = set()
    with StopSignals() as signals, ExitStack() as opened:
        while signals.received is None:
            for node in _nodes(tree, name):
                if node.id not in feeds:
                    feeds[node.id] = opened.enter_context(feeding(node, tracker))
                    _say(node, feeds[node.id], feeds[node.id].send_settled())
            _say_where(feeds.values(), told)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            for feed in feeds.values():
                feed.send_settled()
        for feed in feeds.values():
            feed.send()
        _say_where(feeds.values(), told)
    print(", ".join(f"{node} up to step {feed.last:,}" for node, feed in feeds.items()))
    return 128 + signals.received


def _say(node: Node, feed: Feed, lines: int) -> None:
    if lines:
        text = f"{lines:,} step{'s' * (lines != 1)} sent, the last is step {feed.last:,}"
    else:
        text = f"nothing new since step {feed.last:,}" if feed.last else "nothing recorded yet"
    print(f"{node.id}: {text}", flush=True)


def _say_where(feeds: Iterable[Feed], told: set[str]) -> None:
    for feed in feeds:
        if feed.last and feed.sink.look not in told:
            told.add(feed.sink.look)
            print(f"to look at them: {feed.sink.look}", flush=True)
