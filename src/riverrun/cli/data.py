"""`riverrun data ingest` and `riverrun data inspect`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from riverrun.data import Corpus, IngestProgress


def ingest(
    sources: tyro.conf.Positional[tuple[str, ...]],
    *,
    out: Path,
    tokenizer: str = "bytes",
    text_field: str = "text",
    id_field: str = "id",
    held_out: float = 0.01,
    workers: int | None = None,
    max_bad: str = "0",
    shard_tokens: int = 1 << 27,
    restart: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Make a corpus from text, for training. The same command goes on with an interrupted ingest.

    Args:
        sources: .txt, .jsonl (also .gz, .zst, .xz), .parquet, folders and globs of these, or a Hugging Face
            dataset as hf:NAME[:CONFIG][@SPLIT].
        out: Directory of the corpus; new or empty.
        tokenizer: bytes, bpe:8192 (a byte-level BPE of that vocabulary, trained here), or a tokenizer.json.
        text_field: Field or column that holds the text.
        id_field: Field or column that names the document; without it, file and line do.
        held_out: Share of documents for the validation split, chosen by a hash of their text.
        workers: Processes; one for each processor core unless given.
        max_bad: Bad documents that may be skipped: a count such as 25, or a share such as 1%.
        shard_tokens: A file of tokens is full when it holds at least so many.
        restart: Throw an interrupted ingest in this directory away and begin again.
        json: Print the summary as JSON.
        quiet: Show no progress.
    """
    from riverrun.data import ingest as make_corpus
    from riverrun.errors import SettingError

    if not sources:
        raise SettingError(
            "sources: got none; name files, folders, globs or a Hugging Face dataset as hf:NAME"
        )
    with _Progress(quiet) as progress:
        corpus = make_corpus(
            sources,
            out,
            tokenizer=tokenizer,
            text_field=text_field,
            id_field=id_field,
            held_out=held_out,
            workers=_usable_cores() if workers is None else workers,
            max_bad=max_bad,
            shard_tokens=shard_tokens,
            restart=restart,
            report=progress.show,
        )
    _print_summary(corpus, as_json=json)


def inspect(
    directory: tyro.conf.Positional[Path],
    *,
    verify: bool = False,
    json: bool = False,
) -> None:
    """Show what a corpus holds.

    Args:
        directory: A directory that riverrun data ingest made.
        verify: Read all tokens and compare them with their hashes.
        json: Print JSON.
    """
    from riverrun.data import Corpus

    corpus = Corpus.open(directory)
    if verify:
        corpus.verify()
    _print_summary(corpus, as_json=json, verified=verify)


def _usable_cores() -> int:
    # macOS cannot restrict a process to some cores, and has no such function.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Progress:
    """A progress bar on a terminal; elsewhere a line on standard error every few seconds."""

    seconds_between_lines = 5.0

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=None, counts="")
        self._last_line = 0.0

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def show(self, progress: IngestProgress) -> None:
        """Bring the bar, or the lines, up to date."""
        import time

        counts = f"{progress.documents:,} documents, {progress.tokens:,} tokens"
        if progress.skipped:
            counts += f", {progress.skipped:,} skipped"
        if self._console.is_terminal:
            self._bar.update(
                self._task,
                description=progress.stage,
                completed=progress.bytes_read,
                total=progress.bytes_total or None,
                counts=counts,
            )
        elif time.monotonic() - self._last_line >= self.seconds_between_lines:
            self._last_line = time.monotonic()
            share = f" {progress.bytes_read / progress.bytes_total:.0%}" if progress.bytes_total else ""
            self._console.print(f"{progress.stage}{share}: {counts}", highlight=False, soft_wrap=True)


def _print_summary(corpus: Corpus, *, as_json: bool, verified: bool = False) -> None:
    from rich.console import Console

    summary = _summary(corpus)
    if verified:
        summary["verified"] = True
    console = Console()
    if as_json:
        import json

        print(json.dumps(summary, indent=1, ensure_ascii=False))
        return
    console.print(_table(summary))
    for line in _notes(corpus, summary):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _summary(corpus: Corpus) -> dict[str, Any]:
    manifest = corpus.manifest
    return {
        "directory": str(corpus.directory),
        "fingerprint": corpus.fingerprint,
        "tokenizer": {
            "kind": manifest.tokenizer.kind,
            "sha256": manifest.tokenizer.sha256,
            "vocabulary": corpus.vocabulary,
            "end_of_text": manifest.tokenizer.end_of_text,
        },
        "splits": {
            name: {
                "tokens": split.tokens,
                "documents": split.documents,
                "bytes": split.bytes,
                "bytes_per_token": split.bytes / split.tokens if split.tokens else None,
                "shards": len(split.shards),
            }
            for name, split in manifest.splits.items()
        },
        "skipped": manifest.skipped.model_dump(),
        "left_out": manifest.left_out.model_dump(),
        "settings": manifest.settings,
        "sample": corpus.sample_text("train"),
    }


def _table(summary: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table("split", *(_right(name) for name in ("documents", "tokens", "bytes per token", "shards")))
    for name, split in summary["splits"].items():
        per_token = "" if split["bytes_per_token"] is None else f"{split['bytes_per_token']:.3f}"
        table.add_row(
            name, f"{split['documents']:,}", f"{split['tokens']:,}", per_token, f"{split['shards']:,}"
        )
    return table


def _right(header: str) -> Any:
    from rich.table import Column

    return Column(header, justify="right")


def _notes(corpus: Corpus, summary: dict[str, Any]) -> list[str]:
    """The lines below the table; what was skipped or left out is always among them."""
    tokenizer = summary["tokenizer"]
    # A given tokenizer is known by its hash, of which a part will do here.
    notes = [f"tokenizer    {tokenizer['kind'][:19]}, vocabulary {tokenizer['vocabulary']:,}"]
    asked = tokenizer["kind"].removeprefix("bpe:")
    if asked.isdecimal() and int(asked) > tokenizer["vocabulary"]:
        notes[0] += f" (the text gives no more than that of the {int(asked):,} asked for)"
    notes.append(f"fingerprint  {summary['fingerprint']}")
    if summary.get("verified"):
        notes.append("verified     every shard matches its sha256")
    skipped = corpus.manifest.skipped
    if skipped.count:
        notes.append(f"skipped      {skipped.count:,} bad documents, the first of them:")
        notes += [f"  {fault.file}:{fault.line}: {fault.reason}" for fault in skipped.first]
    left_out = corpus.manifest.left_out
    if left_out.count:
        notes.append(f"left out     {left_out.count:,} files of other kinds, such as {left_out.first[0]}")
    notes.append(f"begins       {' '.join(summary['sample'].split())[:240]}")
    notes.append(f'use          [data] corpus = "{corpus.directory}"')
    return notes
