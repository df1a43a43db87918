"""A node as the page has it."""

from __future__ import annotations

from collections.abc import Mapping

from riverrun.errors import CheckpointError
from riverrun.report import schema
from riverrun.report.curves import curve
from riverrun.report.differences import difference_rows, recipe_rows, text_of
from riverrun.report.envelope import Bought
from riverrun.report.health import health_of
from riverrun.report.places import place
from riverrun.report.reading import Read
from riverrun.train.schedule_words import described
from riverrun.train.session import recorded_feeds


def node_facts(
    read: Read, reads: Mapping[str, Read], best: Bought | None, points: int, notes: list[str]
) -> schema.Node:
    """All that is known of a node.

    Args:
        read: the node.
        reads: the others, for its parent's settings.
        best: its best readout.
        points: that a curve may have.
        notes: gets the checkpoints that cannot be read.
    """
    node, plan, fork = read.node, read.plan, read.node.parent
    parent = reads.get(fork.node) if fork else None
    begins = fork.step if fork else 0
    return {
        "id": node.id,
        "kind": "merge" if node.merged else "branch" if fork else "trunk",
        "parent": fork.node if fork else None,
        "fork": place(fork.node, fork.step, plan) if fork else None,
        "parents": [place(merged.node, merged.step, plan) for merged in node.merged],
        "step": read.step,
        "tokens": plan.tokens(read.step),
        "own_tokens": 0 if node.merged else plan.tokens(read.step) - plan.tokens(begins),
        "horizon_free": plan.schedule.horizon_free,
        "schedule": f"merge of {len(node.merged)}, {node.facts['profile']}"
        if node.merged
        else described(plan),
        "difference": difference_rows(parent.plan, plan) if parent else [],
        "recipe": recipe_rows(plan),
        "segments": _segments(read),
        "data": node.data["hash"],
        "checkpoints": _checkpoints(read, notes),
        "versions": {name: text_of(version) for name, version in node.facts["versions"].items()},
        "best": best.plain() if best else None,
        "curves": {} if node.merged else {key: curve(line, points) for key, line in read.lines.items()},
        "health": None if node.merged else health_of(read),
    }


def _segments(read: Read) -> list[schema.Segment]:
    """The data that it begins with, then each corpus that joined in, by position."""
    plan, data = read.plan, read.plan.recipe.data
    total = sum(source.weight for source in data.sources)
    begin = ", ".join(
        source.corpus if len(data.sources) == 1 else f"{100 * source.weight / total:.3g}% {source.corpus}"
        for source in data.sources
    )
    segments: list[schema.Segment] = [{"tokens": 0, "sources": begin}]
    feeds = sorted((*data.feeds, *recorded_feeds(read.node)), key=lambda feed: plan.samples_at(feed.at))
    for feed in feeds:
        share = f"{100 * feed.weight:.3g}% {feed.corpus}"
        segments.append(
            {
                "tokens": plan.samples_at(feed.at) * plan.decoder.context,
                "sources": share if feed.weight == 1 else f"{share}, the rest as before",
            }
        )
    return segments


def _checkpoints(read: Read, notes: list[str]) -> list[schema.SavedCheckpoint]:
    """By their manifests alone: none of their files is read."""
    found: list[schema.SavedCheckpoint] = []
    for checkpoint in read.node.checkpoints():
        try:
            files, digest = checkpoint.manifest["files"], checkpoint.hash
        except CheckpointError as error:
            if checkpoint.path.exists():  # else whoever trains here let it go meanwhile
                notes.append(f"{error}; left out")
            continue
        size = sum(file["bytes"] for file in files.values())
        tokens = read.plan.tokens(checkpoint.step)
        found.append({"step": checkpoint.step, "tokens": tokens, "hash": digest, "bytes": size})
    return found
