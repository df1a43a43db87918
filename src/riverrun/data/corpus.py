"""A corpus on disk: memory-mapped shards of tokens, a manifest, a tokenizer. The format: `docs/data.md`."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from riverrun.data.manifest import TOKENIZER, Manifest, Shard, read_manifest
from riverrun.data.shards import DTYPES, TokenShards, file_sha256
from riverrun.data.tokenizer import Tokenizer
from riverrun.errors import CorpusError


class Corpus:
    """A finished corpus, opened for reading.

    Attributes:
        directory: where it lies.
        manifest: the content of its manifest.json.
        tokenizer: its `Tokenizer`.
        vocabulary: number of token ids, the end-of-text among them.
        tokens, documents: counts for each split, `train` and `validation`.
        fingerprint: sha256 (hexadecimal) of the tokenizer's hash and those of all shards in order. Two
            corpora with one fingerprint hold the same tokens.
    """

    def __init__(self, directory: Path, manifest: Manifest, tokenizer: Tokenizer) -> None:
        self.directory = directory
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.vocabulary = tokenizer.vocabulary
        self.tokens = {name: split.tokens for name, split in manifest.splits.items()}
        self.documents = {name: split.documents for name, split in manifest.splits.items()}
        self._splits: dict[str, TokenShards] = {}

    @classmethod
    def open(cls, directory: Path | str) -> "Corpus":
        """Open the corpus in a directory, checking that its files are there and as long as they were.

        Raises `CorpusError` when it is not a corpus, unfinished, of another version, or damaged. `verify`
        also compares the content with its hashes.
        """
        directory = Path(directory)
        manifest = read_manifest(directory)
        _check_files(directory, manifest)
        tokenizer = Tokenizer.load(directory / TOKENIZER)
        if tokenizer.hash != manifest.tokenizer.sha256:
            raise CorpusError(
                f"corpus {directory}: {TOKENIZER} is not the one that made the tokens (sha256 "
                f"{tokenizer.hash[:12]}, not {manifest.tokenizer.sha256[:12]}); put the old file back, or "
                "ingest again"
            )
        return cls(directory, manifest, tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """See the class."""
        digest = hashlib.sha256(self.tokenizer.hash.encode())
        for name, split in sorted(self.manifest.splits.items()):
            for shard in split.shards:
                digest.update(f"\n{name} {shard.sha256}".encode())
        return digest.hexdigest()

    def split(self, name: str) -> TokenShards:
        """The tokens of a split; `CorpusError` when the corpus has no such split, or nothing in it."""
        if not self.tokens.get(name):
            has = ", ".join(name for name, tokens in self.tokens.items() if tokens) or "no tokens"
            raise CorpusError(
                f"corpus {self.directory}: no tokens in split {name!r} (it has {has}); ingest again with "
                "another --held-out, which sets the share of documents kept for validation"
            )
        if name not in self._splits:
            shards = self.manifest.splits[name].shards
            self._splits[name] = TokenShards(self.directory, shards, DTYPES[self.manifest.dtype])
        return self._splits[name]

    def verify(self) -> None:
        """Read every shard and compare with its sha256; `CorpusError` names the first that differs."""
        for shard in _shards(self.manifest):
            found = file_sha256(self.directory / shard.file)
            if found != shard.sha256:
                raise CorpusError(
                    f"corpus {self.directory}: {shard.file} is damaged (sha256 {found[:12]}, not "
                    f"{shard.sha256[:12]}); copy it again, or remove the directory and ingest again"
                )

    def sample_text(self, split: str, tokens: int = 240) -> str:
        """The beginning of a split as text."""
        shards = self.split(split)
        return self.tokenizer.decode(shards.windows([0], min(tokens, len(shards)))[0])


def _check_files(directory: Path, manifest: Manifest) -> None:
    itemsize = np.dtype(manifest.dtype).itemsize
    for shard in _shards(manifest):
        tokens = directory / shard.file
        expected = {
            tokens: shard.tokens * itemsize,
            tokens.with_suffix(".starts"): shard.documents * 8,
            tokens.with_suffix(".ids"): None,
        }
        for path, size in expected.items():
            if not path.is_file():
                raise CorpusError(
                    f"corpus {directory}: {path.name} is missing; copy it again, or remove the directory and "
                    "ingest again"
                )
            held = path.stat().st_size
            if size is not None and held != size:
                raise CorpusError(
                    f"corpus {directory}: {path.name} holds {held} bytes, not {size}; copy it again, or "
                    "remove the directory and ingest again"
                )


def _shards(manifest: Manifest) -> Iterator[Shard]:
    for split in manifest.splits.values():
        yield from split.shards
