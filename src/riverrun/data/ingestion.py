"""Sources in, a corpus out: parallel, restartable, and the same corpus whatever the number of workers.

One reader hands chunks of records to worker processes and appends what they give in the order of the sources.
Every few seconds it notes how far it came; after an interruption the files are cut back to the last note and
reading goes on from there.
"""

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riverrun.data.bpe_sample import bpe_sample
from riverrun.data.chunks import Chunk, chunks_of
from riverrun.data.corpus import Corpus
from riverrun.data.documents import SPLITS, ChunkEncoder, EncodedChunk
from riverrun.data.fault_limit import FaultLimit
from riverrun.data.manifest import (
    MANIFEST,
    TOKENIZER,
    WORK_AREA,
    LeftOut,
    Manifest,
    SplitEntry,
    TokenizerEntry,
)
from riverrun.data.shards import SplitWriter
from riverrun.data.sources import Source, find_sources
from riverrun.data.tokenizer import Tokenizer, plain_bytes, train_bpe
from riverrun.data.work_area import NOTE, Note, Request, begin_or_go_on, discard, read_request, work_area_in
from riverrun.data.workers import encode_in_order
from riverrun.errors import CorpusError, SettingError
from riverrun.publish import publish_file

NOTE_SECONDS = 2.0
LISTED = 20
"""Skipped records, and files left out, that the manifest lists."""


@dataclass(frozen=True)
class IngestProgress:
    """How far an ingest came; bytes are those of the stored files, 0 in total when not known."""

    stage: str
    bytes_read: int
    bytes_total: int
    documents: int
    tokens: int
    skipped: int


def ingest(
    sources: Sequence[str],
    out: Path | str,
    *,
    tokenizer: str = "bytes",
    text_field: str = "text",
    id_field: str = "id",
    held_out: float = 0.01,
    workers: int = 1,
    max_bad: str = "0",
    shard_tokens: int = 1 << 27,
    restart: bool = False,
    report: Callable[[IngestProgress], None] | None = None,
) -> Corpus:
    """Make a corpus in the directory `out`, go on with an interrupted one, or find it finished.

    Args:
        sources: files, folders, globs, `hf:NAME[:CONFIG][@SPLIT]`.
        out: the corpus's directory: new, empty, or that of the same ingest interrupted or finished.
        tokenizer: `bytes`, `bpe:VOCABULARY`, or the path of a `tokenizer.json`.
        text_field, id_field: names in records and tables; a record without an id is named by file and line.
        held_out: share of documents for the validation split, chosen by the hash of their text; from 0 to
            below 1. When none falls to it, the end of the corpus is held out instead, this share of its
            tokens.
        workers: processes; the result does not depend on it.
        max_bad: bad records that may be skipped: a count such as "25", or a share such as "1%".
        shard_tokens: a shard is full when it holds at least so many tokens.
        restart: throw away an interrupted ingest in `out` and begin again.
        report: called every few chunks.

    Raises:
        SettingError: an argument is out of its range.
        CorpusError: a source, the tokenizer or `out` cannot be used, or there are too many bad records. Work
            done is kept, and the same call goes on with it.
    """
    _check_settings(held_out, workers, shard_tokens)
    limit = FaultLimit.parse(max_bad)
    found, left_out = find_sources(sources)
    given = _given_tokenizer(tokenizer)
    settings = {
        "tokenizer": tokenizer if given is None or tokenizer == "bytes" else f"sha256:{given.hash}",
        "text_field": text_field,
        "id_field": id_field,
        "held_out": held_out,
        "shard_tokens": shard_tokens,
    }
    request = Request.of(settings, found)
    out = Path(out)
    try:
        if (out / MANIFEST).exists():
            return _finished(out, request)
        with work_area_in(out, restart) as work_area:
            note = begin_or_go_on(out, request)
            job = _Ingest(out, settings, found, note, limit, report)
            try:
                if not note.begun:
                    job.announce("training the tokenizer" if given is None else "ingesting")
                    chosen = given or train_bpe(
                        bpe_sample(found, text_field, id_field, held_out), _bpe_vocabulary(tokenizer)
                    )
                    chosen.save(out / TOKENIZER)
                chosen = Tokenizer.load(out / TOKENIZER)
                job.run(ChunkEncoder(chosen, text_field, id_field, held_out), workers)
                publish_file(
                    out / MANIFEST, job.manifest(chosen, left_out).model_dump_json(indent=1).encode()
                )
            except CorpusError:
                # Without a note nothing is worth keeping, and the user may mend a source and come again.
                if not (work_area / NOTE).exists():
                    discard(out)
                    shutil.rmtree(work_area)
                raise
        shutil.rmtree(out / WORK_AREA)
    except OSError as error:
        raise CorpusError(
            f"corpus {out}: cannot be written ({error.strerror or error}); mend this, or choose another "
            "--out. What was done is kept: the same command goes on with it"
        ) from error
    return Corpus.open(out)


class _Ingest:
    """One ingest under way: its writers, and the note that they are always at least as far as."""

    def __init__(
        self,
        out: Path,
        settings: dict[str, Any],
        sources: Sequence[Source],
        note: Note,
        limit: FaultLimit,
        report: Callable[[IngestProgress], None] | None,
    ) -> None:
        self.out = out
        self.settings = settings
        self.sources = sources
        self.note = note
        self.limit = limit
        self.report = report
        self.writers: dict[str, SplitWriter] = {}

    def run(self, encoder: ChunkEncoder, workers: int) -> None:
        """Read on from the note to the end."""
        if self.limit.passed_early(self.note.skipped.count):
            raise self._too_many_faults()
        self.writers = {
            split: SplitWriter(
                self.out, split, encoder.dtype, self.settings["shard_tokens"], self.note.splits[split]
            )
            for split in SPLITS
        }
        chunks = chunks_of(
            self.sources, encoder.text_field, encoder.id_field, self.note.next_source, self.note.next_record
        )
        try:
            noted = time.monotonic()
            for chunk, encoded in encode_in_order(chunks, encoder, workers):
                self._append(chunk, encoded)
                if time.monotonic() - noted >= NOTE_SECONDS:
                    self._write_note()
                    noted = time.monotonic()
                self.announce("ingesting")
            if self.limit.passed(self.note.skipped.count, self.note.records):
                raise self._too_many_faults()
            self._finish(encoder)
        finally:
            for writer in self.writers.values():
                # After a failure to write, closing fails again; the first failure is the one to tell.
                with contextlib.suppress(OSError):
                    writer.close()

    def _append(self, chunk: Chunk, encoded: EncodedChunk) -> None:
        note = self.note
        note.records += len(chunk.records)
        note.skipped.count += len(encoded.faults)
        note.skipped.first += encoded.faults[: LISTED - len(note.skipped.first)]
        if self.limit.passed_early(note.skipped.count):
            raise self._too_many_faults()
        for split, writer in self.writers.items():
            writer.append(encoded.splits[split])
        note.next_source, note.next_record = chunk.next_source, chunk.next_record
        note.bytes_read = chunk.bytes_read

    def _write_note(self) -> None:
        for writer in self.writers.values():
            writer.sync()
        publish_file(self.out / WORK_AREA / NOTE, self.note.model_dump_json().encode())

    def _finish(self, encoder: ChunkEncoder) -> None:
        train, validation = self.writers["train"], self.writers["validation"]
        share = float(self.settings["held_out"])
        if not train.progress.all_tokens:
            raise CorpusError(
                f"no documents for training among {self.note.records} records ({self.note.skipped.count} "
                "skipped); add documents, or lower --held-out"
            )
        if share and not validation.progress.all_tokens:
            self._hold_out_the_end(train, validation, share, encoder)
        for writer in self.writers.values():
            writer.finish()

    def _hold_out_the_end(
        self, train: SplitWriter, validation: SplitWriter, share: float, encoder: ChunkEncoder
    ) -> None:
        """Move the last tokens from train to validation, through the middle of a document if need be."""
        count = min(math.ceil(share * train.progress.all_tokens), train.progress.tokens - 1)
        if count < 1:
            raise CorpusError(
                "the corpus is too small to hold out a part of it; add documents, or give --held-out 0"
            )
        end = train.give_up(count)
        end.bytes = int(encoder.tokenizer.byte_lengths()[end.tokens].sum())
        train.progress.bytes -= end.bytes
        validation.append(end)
        # Only a note makes the move final; before it, a restart finds the train files as they were.
        self._write_note()
        train.cut_back()

    def announce(self, stage: str) -> None:
        """Tell the caller how far the ingest came."""
        if self.report is None:
            return
        splits = self.note.splits.values()
        self.report(
            IngestProgress(
                stage=stage,
                bytes_read=self.note.bytes_read,
                bytes_total=sum(source.size for source in self.sources),
                documents=sum(split.all_documents for split in splits),
                tokens=sum(split.all_tokens for split in splits),
                skipped=self.note.skipped.count,
            )
        )

    def _too_many_faults(self) -> CorpusError:
        skipped = self.note.skipped
        first = skipped.first[0]
        return CorpusError(
            f"{first.file}:{first.line}: {first.reason} ({skipped.count} bad of {self.note.records} records "
            f"so far; --max-bad allows {self.limit}). Mend the source, or skip more with --max-bad "
            f"{2 * skipped.count} or --max-bad 1%"
        )

    def manifest(self, tokenizer: Tokenizer, left_out: list[str]) -> Manifest:
        """The finished corpus's manifest."""
        note = self.note
        return Manifest(
            tokenizer=TokenizerEntry(
                kind=self.settings["tokenizer"],
                sha256=tokenizer.hash,
                vocabulary=tokenizer.vocabulary,
                end_of_text=tokenizer.end_of_text,
            ),
            dtype="uint16" if tokenizer.fits_uint16 else "uint32",
            splits={
                name: SplitEntry(
                    tokens=split.all_tokens,
                    documents=split.all_documents,
                    bytes=split.bytes,
                    shards=split.shards,
                )
                for name, split in note.splits.items()
            },
            skipped=note.skipped,
            left_out=LeftOut(count=len(left_out), first=left_out[:LISTED]),
            settings=self.settings,
        )


def _check_settings(held_out: float, workers: int, shard_tokens: int) -> None:
    if not 0 <= held_out < 1:
        raise SettingError(
            f"held-out: got {held_out}; give the share of documents for validation, from 0 to below 1, such "
            "as 0.01"
        )
    if workers < 1:
        raise SettingError(f"workers: got {workers}; give at least 1 process")
    if shard_tokens < 1:
        raise SettingError(f"shard-tokens: got {shard_tokens}; give at least 1 token, such as {1 << 27}")


def _given_tokenizer(spec: str) -> Tokenizer | None:
    """The tokenizer that a setting names; None for one still to be trained."""
    if spec == "bytes":
        return plain_bytes()
    if spec.startswith("bpe:"):
        _bpe_vocabulary(spec)
        return None
    return Tokenizer.load(spec)


def _bpe_vocabulary(spec: str) -> int:
    size = spec.removeprefix("bpe:")
    if not size.isdecimal() or int(size) < 257:
        raise SettingError(
            f"tokenizer: got {spec!r}; give bpe: and a vocabulary of at least 257 (256 bytes and end of "
            "text), such as bpe:8192"
        )
    return int(size)


def _finished(out: Path, request: Request) -> Corpus:
    corpus = Corpus.open(out)
    changed = request.difference_from(read_request(out))
    if changed:
        raise CorpusError(
            f"corpus {out}: already holds a finished corpus of another ingest ({changed}); choose another "
            "--out, or remove the directory first"
        )
    shutil.rmtree(out / WORK_AREA, ignore_errors=True)
    return corpus
