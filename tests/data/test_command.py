"""`riverrun data ingest` and `inspect`, called as from a shell."""

import json
from pathlib import Path

import pytest
import tyro

from riverrun.cli import data
from riverrun.errors import CorpusError, SettingError


def run(*arguments: object) -> None:
    app = tyro.extras.SubcommandApp()
    app.command(data.ingest)
    app.command(data.inspect)
    app.cli(args=[str(argument) for argument in arguments])


def test_ingest_prints_what_it_made_and_what_it_skipped(jsonl, tmp_path, capsys):
    source = tmp_path / "source.jsonl"
    source.write_bytes(jsonl.read_bytes() + b"{\n")
    run(
        "ingest",
        source,
        "--out",
        tmp_path / "out",
        "--tokenizer",
        "bpe:5000",
        "--max-bad",
        "1%",
        "--workers",
        1,
    )
    printed = capsys.readouterr()
    assert "train" in printed.out
    assert "validation" in printed.out
    assert "of the 5,000 asked for" in printed.out
    assert f"{source}:301: not JSON" in printed.out
    assert "training the tokenizer" in printed.err


def test_json_is_all_that_is_printed(jsonl, tmp_path, capsys):
    run("ingest", jsonl, "--out", tmp_path / "out", "--held-out", 0.1, "--json", "--quiet")
    printed = capsys.readouterr()
    assert printed.err == ""
    made = json.loads(printed.out)
    run("inspect", tmp_path / "out", "--json", "--verify")
    inspected = json.loads(capsys.readouterr().out)
    assert inspected.pop("verified") is True
    assert inspected == made
    assert made["splits"]["train"]["documents"] + made["splits"]["validation"]["documents"] == 300
    assert 0.98 < made["splits"]["train"]["bytes_per_token"] < 1


def test_inspect_shows_the_beginning_of_the_text(corpus, documents, capsys):
    run("inspect", corpus.directory)
    printed = capsys.readouterr().out
    assert corpus.fingerprint in printed
    assert "begins" in printed


def test_user_errors_reach_the_command_line(jsonl, tmp_path):
    with pytest.raises(SettingError, match="sources"):
        run("ingest", "--out", tmp_path / "out")
    with pytest.raises(SettingError, match="workers"):
        run("ingest", jsonl, "--out", tmp_path / "out", "--workers", 0)
    with pytest.raises(CorpusError, match="no such file"):
        run("ingest", tmp_path / "absent.txt", "--out", tmp_path / "out")
    with pytest.raises(CorpusError, match="not a corpus"):
        run("inspect", tmp_path)


def test_a_line_every_few_seconds_without_a_terminal(jsonl, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("riverrun.data.chunks.CHUNK_BYTES", 10_000)
    monkeypatch.setattr(data._Progress, "seconds_between_lines", 0.0)
    run("ingest", jsonl, "--out", tmp_path / "out", "--workers", 1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 5
    assert "ingesting 100%: 300 documents" in lines[-1]
    assert Path(tmp_path / "out" / "manifest.json").exists()
