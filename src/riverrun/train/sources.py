"""The corpora of a recipe, opened, and the stream that a run reads from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from riverrun.data import Corpus, Segment, Stream, bundled_corpus
from riverrun.errors import SettingError
from riverrun.train.plan import Plan
from riverrun.train.recipe import Data, Feed

Mixture = tuple[tuple[Corpus, float], ...]


def open_corpus(name: str) -> Corpus:
    """The bundled corpus, or the one in a directory."""
    return bundled_corpus() if name == "bundled" else Corpus.open(Path(name))


def open_sources(data: Data) -> Mixture:
    """The corpora of a recipe with their weights; the first one gives the tokenizer and the held-out text."""
    return tuple((open_corpus(source.corpus), source.weight) for source in data.sources)


def open_stream(plan: Plan, sources: Mixture, feeds: Iterable[Feed] = ()) -> Stream:
    """The samples of a run: `sources`, its opened mixture, then a segment for each feed of its recipe and of `feeds`.

    A feed that begins where another does joins what that one made; `SettingError` for one that begins earlier.
    """
    recipe, context = plan.recipe, plan.decoder.context
    segments = [Segment(0, sources)]
    for feed in (*recipe.data.feeds, *feeds):
        start = plan.samples_at(feed.at)
        if start < segments[-1].start_sample:
            raise SettingError(
                f'data.feeds: got at = "{feed.at}", which is sample {start}, before the segment at sample '
                f"{segments[-1].start_sample}; list feeds in the order in which they begin"
            )
        mixture = fed(segments[-1].sources, open_corpus(feed.corpus), feed.weight)
        if start == segments[-1].start_sample:
            segments.pop()
        segments.append(Segment(start, mixture))
    return Stream(segments, context, recipe.seed, plan.sizes)


def fed(mixture: Mixture, corpus: Corpus, weight: float) -> Mixture:
    """The mixture with `corpus` at the share `weight`, the others sharing the rest as they shared the whole."""
    others = [(other, share) for other, share in mixture if other.fingerprint != corpus.fingerprint]
    total = sum(share for _, share in others)
    if weight == 1 or not total:
        return ((corpus, 1.0),)
    return (*((other, (1 - weight) * share / total) for other, share in others), (corpus, weight))


def absolute(data: Data) -> Data:
    """Corpus paths made absolute, so that a run can be resumed from any working directory."""

    def path(corpus: str) -> str:
        return corpus if corpus == "bundled" else str(Path(corpus).resolve())

    feeds = tuple(replace(feed, corpus=path(feed.corpus)) for feed in data.feeds)
    if isinstance(data.corpus, str):
        return Data(corpus=path(data.corpus), feeds=feeds)
    named = tuple(replace(source, corpus=path(source.corpus)) for source in data.corpus)
    return Data(corpus=named, feeds=feeds)
