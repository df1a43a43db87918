"""An interrupted ingest, begun again by the same call, ends as if nothing had happened."""

import errno
import fcntl
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from riverrun.data import Corpus, ingest
from riverrun.data.shards import SplitWriter
from riverrun.errors import CorpusError

SETTINGS = {"tokenizer": "bpe:300", "held_out": 0.1, "shard_tokens": 8_000}

KILLED = """
import json, os, signal, sys
from riverrun.data import chunks, ingest, ingestion

if __name__ == "__main__":
    source, out, reports, workers, settings = json.loads(sys.argv[1])
    chunks.CHUNK_BYTES = 10_000
    ingestion.NOTE_SECONDS = 0
    def report(progress):
        global reports
        reports -= 1
        if reports == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    ingest([source], out, workers=workers, report=report, **settings)
"""


def same_files(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.fixture(scope="module")
def uninterrupted(jsonl: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return ingest([str(jsonl)], tmp_path_factory.mktemp("uninterrupted"), **SETTINGS)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("riverrun.data.chunks.CHUNK_BYTES", 10_000)
    monkeypatch.setattr("riverrun.data.ingestion.NOTE_SECONDS", 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_several_moments(workers, jsonl, uninterrupted, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "out"
    # The first report is that of the tokenizer's training; a killed run goes on from the one before it.
    for reports in (1, 4, 3, 2):
        arguments = json.dumps([str(jsonl), str(out), reports, workers, SETTINGS])
        done = subprocess.run([sys.executable, script, arguments], check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        with pytest.raises(CorpusError, match="was interrupted; run the same"):
            Corpus.open(out)
    corpus = ingest([str(jsonl)], out, **SETTINGS)
    assert corpus.fingerprint == uninterrupted.fingerprint
    assert same_files(out, uninterrupted.directory)


@pytest.mark.parametrize("after", [0, 1, 2, 5, 9, 14])
def test_a_disk_that_fills(after, jsonl, uninterrupted, tmp_path, monkeypatch, small_steps):
    write, writes = SplitWriter._write, []

    def fails(self, tokens, starts, ids):
        writes.append(len(ids))
        if len(writes) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, tokens, starts, ids)

    with monkeypatch.context() as full:
        full.setattr(SplitWriter, "_write", fails)
        with pytest.raises(CorpusError, match=r"No space left on device.*the same command goes on") as caught:
            ingest([str(jsonl)], tmp_path / "out", **SETTINGS)
    assert "\n" not in str(caught.value)
    ingest([str(jsonl)], tmp_path / "out", **SETTINGS)
    assert same_files(tmp_path / "out", uninterrupted.directory)


def test_a_write_that_the_system_refuses(jsonl, uninterrupted, tmp_path, small_steps):
    """A real failing write: the process may write no file beyond 12 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    settings = {**SETTINGS, "tokenizer": str(uninterrupted.directory / "tokenizer.json")}
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, before[1]))
    try:
        with pytest.raises(CorpusError, match="File too large"):
            ingest([str(jsonl)], tmp_path / "out", **settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    corpus = ingest([str(jsonl)], tmp_path / "out", **settings)
    assert corpus.fingerprint == uninterrupted.fingerprint


@pytest.mark.parametrize("name", ["publish_file", "shutil.rmtree"])
def test_interrupted_while_finishing(name, tmp_path, monkeypatch):
    """The end is held out, and the ingest dies before the manifest, or right after it."""
    source = tmp_path / "lone.txt"
    source.write_text("one line after another\n" * 50)
    whole = ingest([str(source)], tmp_path / "whole")
    assert whole.tokens["validation"] == 12

    def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(f"riverrun.data.ingestion.{name}", dies)
        with pytest.raises(KeyboardInterrupt):
            ingest([str(source)], tmp_path / "out")
    ingest([str(source)], tmp_path / "out")
    assert same_files(tmp_path / "out", tmp_path / "whole")


@pytest.mark.parametrize("moment", ["_write_note", "cut_back"])
def test_interrupted_while_holding_out_the_end(moment, tmp_path, monkeypatch):
    source = tmp_path / "lone.txt"
    source.write_text("one line after another\n" * 50)
    ingest([str(source)], tmp_path / "whole")
    cut_back = SplitWriter.cut_back

    def dies(self, *arguments):
        if moment == "_write_note" or self.progress.tokens:
            raise KeyboardInterrupt
        cut_back(self)

    with monkeypatch.context() as stopped:
        owner = (
            "riverrun.data.ingestion._Ingest"
            if moment == "_write_note"
            else "riverrun.data.shards.SplitWriter"
        )
        stopped.setattr(f"{owner}.{moment}", dies)
        with pytest.raises(KeyboardInterrupt):
            ingest([str(source)], tmp_path / "out")
    ingest([str(source)], tmp_path / "out")
    assert same_files(tmp_path / "out", tmp_path / "whole")


def interrupt(jsonl: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = []

    def stop(progress: object) -> None:
        reports.append(progress)
        if len(reports) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest([str(jsonl)], out, report=stop, **SETTINGS)


def test_other_settings_do_not_go_on(jsonl, uninterrupted, tmp_path, monkeypatch, small_steps):
    out = tmp_path / "out"
    interrupt(jsonl, out, monkeypatch)
    for changed in ({"held_out": 0.2}, {"shard_tokens": 9}, {"tokenizer": "bytes"}):
        with pytest.raises(CorpusError, match=r"interrupted here \((held_out|shard_tokens|tokenizer) was"):
            ingest([str(jsonl)], out, **{**SETTINGS, **changed})
    ingest([str(jsonl)], out, restart=True, **SETTINGS)
    assert same_files(out, uninterrupted.directory)


def test_a_changed_source_does_not_go_on(jsonl, tmp_path, monkeypatch, small_steps):
    source = tmp_path / "river.jsonl"
    source.write_bytes(jsonl.read_bytes())
    interrupt(source, tmp_path / "out", monkeypatch)
    source.write_bytes(jsonl.read_bytes() + b'{"text": "more"}\n')
    with pytest.raises(CorpusError, match=r"river\.jsonl was changed since.*--restart"):
        ingest([str(source)], tmp_path / "out", **SETTINGS)


def test_a_damaged_interrupted_ingest_is_named(jsonl, tmp_path, monkeypatch, small_steps):
    interrupt(jsonl, tmp_path / "out", monkeypatch)
    (tmp_path / "out" / "train-00000.tokens").write_bytes(b"")
    with pytest.raises(CorpusError, match="damaged"):
        ingest([str(jsonl)], tmp_path / "out", **SETTINGS)


def test_a_finished_ingest_is_found_finished(jsonl, tmp_path):
    first = ingest([str(jsonl)], tmp_path / "out", held_out=0.1)
    written = (tmp_path / "out" / "train-00000.tokens").stat().st_mtime_ns
    assert ingest([str(jsonl)], tmp_path / "out", held_out=0.1).fingerprint == first.fingerprint
    assert (tmp_path / "out" / "train-00000.tokens").stat().st_mtime_ns == written
    with pytest.raises(CorpusError, match="already holds a finished corpus of another ingest"):
        ingest([str(jsonl)], tmp_path / "out", held_out=0.2)


def test_a_higher_limit_goes_on_where_a_lower_one_stopped(tmp_path, monkeypatch, small_steps):
    good, bad = '{"text": "%s"}\n' % ("good " * 500), "{\n"
    source = tmp_path / "source.jsonl"
    source.write_text(good * 50 + bad + good * 50)
    with pytest.raises(CorpusError, match=r"source\.jsonl:51"):
        ingest([str(source)], tmp_path / "out")
    note = json.loads((tmp_path / "out" / ".ingest" / "note.json").read_text())
    assert note["next_record"] > 0
    corpus = ingest([str(source)], tmp_path / "out", max_bad="1")
    assert sum(corpus.documents.values()) >= 100


def test_two_ingests_do_not_write_one_directory(jsonl, tmp_path):
    (tmp_path / "out" / ".ingest").mkdir(parents=True)
    with (tmp_path / "out" / ".ingest" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CorpusError, match="another ingest is writing here"):
            ingest([str(jsonl)], tmp_path / "out")
    ingest([str(jsonl)], tmp_path / "out")
