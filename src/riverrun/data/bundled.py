"""The bundled corpus: 233 State of the Union addresses, 1790 to 2021, 10.7 MB of real text as plain bytes."""

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from riverrun.data.corpus import Corpus
from riverrun.data.ingestion import ingest
from riverrun.errors import CorpusError

ASSET = "state-of-the-union.jsonl.xz"
HELD_OUT = 0.05
"""By hash this holds out 10 speeches from 1802 to 1982, 2.7% of the text."""


def bundled_corpus() -> Corpus:
    """The bundled corpus, ingested on first use into the cache; about a second then, at once later.

    The cache is `RIVERRUN_CACHE`, else `riverrun` below `XDG_CACHE_HOME`, else `~/.cache/riverrun`. Its
    fingerprint is the same on every machine. Processes may race: each ingests aside, the first to finish
    gives the directory.
    """
    directory = cache_directory() / "bundled-state-of-the-union-1"
    try:
        return Corpus.open(directory)
    except CorpusError:
        # Not there yet, or damaged.
        return _ingest_aside(directory)


def cache_directory() -> Path:
    """Where riverrun keeps what it can make again."""
    if own := os.environ.get("RIVERRUN_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "riverrun"


def _ingest_aside(directory: Path) -> Corpus:
    aside = directory.with_name(f"{directory.name}.{os.getpid()}")
    try:
        with as_file(files("riverrun.data") / "assets" / ASSET) as asset:
            ingest([str(asset)], aside, tokenizer="bytes", held_out=HELD_OUT)
        _put_in_place(aside, directory)
    except (OSError, CorpusError) as error:
        raise CorpusError(
            f"bundled corpus: cannot be made in {directory.parent} ({error.__cause__ or error}); set "
            "RIVERRUN_CACHE to a directory with 40 MB to spare"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Corpus.open(directory)


def _put_in_place(aside: Path, directory: Path) -> None:
    try:
        aside.rename(directory)
    except OSError:
        # Another process was first, and its corpus is the same, unless what lies there is damaged.
        try:
            Corpus.open(directory)
        except CorpusError:
            shutil.rmtree(directory)
            aside.rename(directory)
