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
    weight: float,
    from_: Annotated[int | None, tyro.conf.arg(name="from", metavar="STEP")] = None,
    node: str = "trunk",
) -> None:
    """Let a corpus join in from the next sample on; what was trained stays as it was.

    Args:
        run: directory of the run.
        corpus: a directory that riverrun data ingest made, with the run's tokenizer, or bundled.
        weight: its share of all samples, above 0 and at most 1; what was read before shares the rest.
        from_: the step after which it begins; the last one trained if not given.
        node: trunk, or the name of a branch.
    """
    from riverrun.runs import Tree
    from riverrun.train.feed import feed as append_feed
    from riverrun.train.plan import build_plan
    from riverrun.train.session import recorded_feeds, recorded_recipe
    from riverrun.train.sources import open_corpus, open_sources, open_stream

    fed = Tree.open(run).node(node)
    added = append_feed(fed, corpus, weight, from_)
    recipe = recorded_recipe(fed)
    plan = build_plan(recipe, open_sources(recipe.data)[0][0].vocabulary)
    feeds = recorded_feeds(fed)
    mixture = open_stream(plan, feeds).segments[-1].sources
    total = sum(share for _, share in mixture)
    named = {source.corpus for source in recipe.data.sources} | {
        one.corpus for one in (*recipe.data.feeds, *feeds)
    }
    names = {open_corpus(name).fingerprint: name for name in named}
    shares = ", ".join(f"{100 * share / total:.3g}% {names[source.fingerprint]}" for source, share in mixture)
    print(
        f"{fed.id} reads from sample {plan.samples_at(added.at):,} on, after step {plan.step_at(added.at):,}: {shares}"
    )
