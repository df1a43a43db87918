"""`riverrun feed`: let another corpus join in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional


def feed(
    run: Positional[Path],
    corpus: Positional[Annotated[str, tyro.conf.arg(metavar="CORPUS")]],
    *,
    weight: float | None = None,
    from_: Annotated[int | None, tyro.conf.arg(name="from", metavar="STEP")] = None,
    node: str = "trunk",
) -> None:
    """Let a corpus join in from the next sample on; what was trained stays as it was.

    Args:
        run: directory of the run.
        corpus: a directory that riverrun data ingest made, with the run's tokenizer, or bundled.
        weight: its share of all samples, above 0 and at most 1; must be given. What was read before shares the rest.
        from_: the step after which it begins; the last one trained if not given.
        node: trunk, or the name of a branch.
    """
    from riverrun.data.bundled import cache_directory
    from riverrun.errors import SettingError
    from riverrun.runs import Tree
    from riverrun.train.costs import recorded_plan
    from riverrun.train.feed import feed as append_feed

    if weight is None:
        raise SettingError("--weight: got nothing; name a share above 0 and at most 1, as in --weight 0.3")
    fed = Tree.open(run).node(node)
    added, stream = append_feed(fed, corpus, weight, from_)
    segment = stream.segments[-1]
    total = sum(share for _, share in segment.sources)
    shares = ", ".join(
        f"{100 * share / total:.3g}% {'bundled' if lies.parent == cache_directory() else lies}"
        for lies, share in ((source.directory, share) for source, share in segment.sources)
    )
    step = recorded_plan(fed).step_at(added.at)
    print(f"{fed.id} reads from sample {segment.start_sample:,} on, after step {step:,}: {shares}")
