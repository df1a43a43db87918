"""Feeding a run: another corpus joins in from a position on; what was read before stays as it was."""

from __future__ import annotations

from fractions import Fraction

from riverrun.data import Stream
from riverrun.errors import SettingError
from riverrun.runs import Node, RunError, Tree
from riverrun.runs.metrics import append_record
from riverrun.train.costs import recorded_plan
from riverrun.train.recipe import Data, Feed
from riverrun.train.session import recorded_feeds
from riverrun.train.sources import absolute, open_sources, open_stream
from riverrun.units import Duration


def feed(node: Node, corpus: str, weight: float, at: int | None = None) -> tuple[Feed, Stream]:
    """Let `corpus` give the share `weight` of all samples from position `at` on; None is the next sample.

    The run must not be training meanwhile. Its next call reads the new mixture.

    Returns:
        The feed as it is recorded, and the run's samples with it.

    Raises:
        RunError: another process is training the node.
        SettingError: a weight that is no share, a position in the past, or before an earlier feed.
        CorpusError: no corpus, or one with another tokenizer.
    """
    if not node.exists:
        raise RunError(f"{node.path}: is no node of a run")
    if not 0 < weight <= 1:
        raise SettingError(f"--weight: got {weight:g}; must be a share above 0 and at most 1")
    with node.locked():
        plan = recorded_plan(node)
        data, later = plan.recipe.data, recorded_feeds(node)
        latest = node.latest_checkpoint(lambda text: None) or Tree(node.run).origin(node)
        reached = latest.step if latest else 0
        start = reached if at is None else at
        if start < reached:
            raise SettingError(
                f"--from: got {start}; {node.id} is trained up to step {reached:,} already, and its past stays as it "
                "is. Name that step or a later one, or feed a branch from an earlier checkpoint"
            )
        before = max((plan.step_at(fed.at) for fed in (*data.feeds, *later)), default=0)
        if start < before:
            raise SettingError(
                f"--from: got {start}; the feed before it begins at step {before:,}, so name that step or a later one"
            )
        position = Duration(Fraction(plan.tokens(start)), "tokens")
        (added,) = absolute(Data(feeds=(Feed(at=position, corpus=corpus, weight=weight),))).feeds
        stream = open_stream(plan, open_sources(data), (*later, added))
        record = {"at": str(added.at), "corpus": added.corpus, "weight": weight, "data": stream.fingerprint}
        append_record(node.feeds_path, record)
    return added, stream
