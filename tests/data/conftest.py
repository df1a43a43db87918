"""Small real corpora for the tests of riverrun.data."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from riverrun.data import Corpus, ingest

WORDS = [
    "the",
    "river",
    "runs",
    "on",
    "past",
    "the",
    "mill,",
    "naïve",
    "and",
    "slow",
    "–",
    "川は流れる,",
    "🌊",
    "and",
    "then",
    "the",
    "sea",
]


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """300 texts of 1 to 200 words, with letters of one to four bytes."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, size=random.integers(1, 200))) for _ in range(300)]


@pytest.fixture(scope="session")
def jsonl(documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents as one .jsonl file, `river.jsonl`."""
    path = tmp_path_factory.mktemp("sources") / "river.jsonl"
    lines = [json.dumps({"id": f"doc-{n}", "text": text}) for n, text in enumerate(documents)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def corpus(jsonl: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Plain bytes, several shards, a tenth held out."""
    return ingest([str(jsonl)], tmp_path_factory.mktemp("corpus"), held_out=0.1, shard_tokens=30_000)


@pytest.fixture(scope="session")
def make_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Corpus]:
    """A corpus of given texts, nothing held out unless told otherwise."""

    def make(texts: list[str], **settings: object) -> Corpus:
        directory = tmp_path_factory.mktemp("made")
        source = directory / "texts.jsonl"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        return ingest([str(source)], directory / "corpus", **({"held_out": 0.0} | settings))  # type: ignore[arg-type]

    return make
