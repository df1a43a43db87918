"""`riverrun report` and `riverrun serve`, and the page that other verbs leave and name."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from riverrun.runs.metrics import read_records


def facts_in(page):
    """What a page has embedded."""
    found = re.search(
        r'<script type="application/json" id="facts">(.*?)</script>', page.read_text(), re.DOTALL
    )
    return json.loads(found[1])


def test_it_writes_one_page_and_says_where_and_how_large(riverrun, run, files_below):
    before = files_below(run)
    ended = riverrun("report", "run")
    assert (ended.code, ended.err) == (0, "")
    size = (run / "report.html").stat().st_size
    assert ended.out == f"run/report.html: {size / 1000:.0f} kB; open it in any browser\n"
    after = files_below(run)
    assert after.keys() - before.keys() == {"report.html"}
    assert {path: after[path] for path in before} == before
    facts = facts_in(run / "report.html")
    assert (facts["run"], facts["live"], facts["nodes"][0]["step"]) == ("run", False, 40)


def test_the_same_run_gives_the_same_page_but_for_its_time(riverrun, run, here):
    riverrun("report", "run")
    first = riverrun("report", "run", "--out", "page.html").out
    assert first.startswith("page.html: ")
    pages = [
        re.sub(r'"written":"[^"]*"', "", path.read_text())
        for path in (run / "report.html", here / "page.html")
    ]
    assert pages[0] == pages[1]


def test_as_json_it_prints_what_the_page_knows_and_writes_nothing(riverrun, run, files_below):
    before = files_below(run)
    ended = riverrun("report", "run", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert files_below(run) == before
    riverrun("report", "run")
    assert {**json.loads(ended.out), "written": ""} == {**facts_in(run / "report.html"), "written": ""}
    both = riverrun("report", "run", "--json", "--out", "page.html")
    assert {**json.loads(both.out), "written": ""} == {**json.loads(ended.out), "written": ""}
    assert both.err.startswith("page.html: ")


def test_the_figure_is_drawn_beside_the_page(riverrun, run, here):
    pytest.importorskip("matplotlib")
    ended = riverrun("report", "run", "--png", "losses.png")
    assert ended.out.splitlines()[-1] == "losses.png: the figure"
    assert (here / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "report.html").exists()


def test_the_docs_page_runs_as_it_stands(run_snippets, trained, tmp_path):
    pytest.importorskip("matplotlib")
    shutil.copytree(trained, tmp_path / "runs/mine")
    found = run_snippets("report.md")
    assert (found["best"]["node"], found["best"]["step"]) == ("trunk", 40)
    assert facts_in(tmp_path / "mine.html") == found["facts"]
    assert (tmp_path / "mine.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--png", "x.pdf"), "--png: got 'x.pdf'; a figure is written as .png or .svg"),
        (("--png", "no/x.png"), "--png: got no/x.png, but there is no directory no; make it first"),
        (("--out", "no/x.html"), "--out: got no/x.html, but there is no directory no; make it first"),
    ],
)
def test_a_place_that_cannot_be_is_named_before_anything_is_written(
    options, complaint, riverrun, run, here, files_below
):
    before = files_below(here)
    assert riverrun("report", "run", *options).complaint == complaint
    assert files_below(here) == before


@pytest.mark.parametrize("option", ["--out", "--png"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_replaced_by_one(option, make, riverrun, run, here, files_below):
    """Least of all a device such as /dev/null, by someone who may."""
    make("place.png")
    before = files_below(run)
    assert riverrun("report", "run", option, "place.png").complaint == (
        f"{option}: got place.png, which is there and is no file; name another"
    )
    assert not (here / "place.png").is_file()
    assert files_below(run) == before


def test_without_matplotlib_the_page_is_written_and_the_figure_names_its_extra(riverrun, run, monkeypatch):
    from riverrun import extras

    monkeypatch.setattr(extras, "_is_installed", lambda package: package != "matplotlib")
    assert riverrun("report", "run").code == 0
    assert riverrun("report", "run", "--png", "x.png").complaint == (
        "report --png: needs matplotlib for the figure. pip install 'riverrun[report]'"
    )


@pytest.mark.parametrize("verb", ["report", "serve"])
def test_what_is_no_run_is_named(verb, riverrun, here):
    assert riverrun(verb, "nowhere").complaint.startswith(
        "nowhere: is no run of riverrun; there is no such dir"
    )
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]


def test_a_disk_that_is_full_leaves_the_page_that_was_there(with_small_files, riverrun, run, files_below):
    riverrun("report", "run")
    before = files_below(run)
    assert "File too large" in with_small_files(20_000, "report", "run").complaint
    assert files_below(run) == before


def test_a_node_that_cannot_be_read_is_named_and_left_out(riverrun, run):
    (run / "branches/torn").mkdir(parents=True)
    (run / "branches/torn/node.json").write_text("torn")
    ended = riverrun("report", "run")
    assert ended.code == 0
    assert "torn is left out" in ended.err
    facts = facts_in(run / "report.html")
    assert [node["id"] for node in facts["nodes"]] == ["trunk"]
    assert any("torn is left out" in note for note in facts["notes"])


def test_the_page_of_twenty_long_nodes_is_small(riverrun, run):
    """19 branches, and in each node more lines than a curve has points."""
    assert riverrun("branch", "run", "--length", "20 steps", "--name", "end", "--quiet").code == 0
    for number in range(18):
        shutil.copytree(run / "branches/end", run / f"branches/end-{number}")
    for record in run.glob("**/metrics.jsonl"):
        last = read_records(record)[-1]
        long = ({**last, "step": step, "loss/train": 1 / step} for step in range(41, 3041))
        record.write_text("".join(json.dumps(line) + "\n" for line in long))
    assert riverrun("report", "run").code == 0
    assert len(facts_in(run / "report.html")["nodes"]) == 20
    assert (run / "report.html").stat().st_size < 1_000_000


def test_train_and_branch_leave_a_page_and_name_it(riverrun, here):
    trained = riverrun("train", "tiny.toml", "--run", "my run", "--until", "20 steps")
    assert "See it as a page: my run/report.html\n" in trained.out
    page = here / "my run/report.html"
    assert [node["step"] for node in facts_in(page)["nodes"]] == [20]
    branched = riverrun("branch", "my run", "--length", "4 steps")
    assert "See it as a page: my run/report.html\n" in branched.out
    assert [node["step"] for node in facts_in(page)["nodes"]] == [20, 24]


def test_a_script_is_left_no_page_that_it_did_not_ask_for(riverrun, run):
    riverrun("train", "tiny.toml", "--run", "run", "--until", "44 steps", "--quiet")
    riverrun("branch", "run", "--length", "4 steps", "--quiet")
    assert not (run / "report.html").exists()


def test_of_a_long_record_the_command_is_named_alone(riverrun, run, monkeypatch):
    from riverrun.cli import page

    monkeypatch.setattr(page, "_QUICK_BYTES", (run / "trunk/metrics.jsonl").stat().st_size)
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "50 steps")
    (line,) = (line for line in ended.out.splitlines() if line.startswith("See it as a page: "))
    assert line.endswith("riverrun report run")
    assert not (run / "report.html").exists()


def test_a_forecast_that_takes_long_is_left_to_the_command_that_makes_one(riverrun, run, monkeypatch):
    from riverrun.cli import page

    monkeypatch.setattr(page, "_QUICK_UPDATES", 60)
    shutil.move(run, "my run")
    assert "takes a while" not in " ".join(trained_further(riverrun, 60)["notes"])
    (note,) = (note for note in trained_further(riverrun, 61)["notes"] if "takes a while" in note)
    command = note.partition(" is left to ")[2]
    assert command.endswith("riverrun report 'my run'")
    told = riverrun(*shlex.split(command)[1:]).err
    assert "takes a while" not in told


def trained_further(riverrun, step):
    """The page that training to a step leaves."""
    riverrun("train", "tiny.toml", "--run", "my run", "--until", f"{step} steps")
    return facts_in(Path("my run/report.html"))


def test_a_record_that_is_removed_between_two_looks_fails_no_run(riverrun, here, monkeypatch):
    glob, pattern = Path.glob, "**/metrics.jsonl"
    gone = [here / "run/branches/gone/metrics.jsonl"]
    monkeypatch.setattr(Path, "glob", lambda folder, all: gone if all == pattern else glob(folder, all))
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps")
    assert (ended.code, ended.err) == (0, "")
    assert "Its page could not be written (" in ended.out
    assert "Next, write with the best model" in ended.out


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("loss")])
def test_a_page_that_cannot_be_written_is_one_line_of_a_run_that_went_well(
    error, riverrun, here, monkeypatch
):
    from riverrun.cli import page

    def fail(path, facts):
        raise error

    monkeypatch.setattr(page, "write_page", fail)
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "20 steps")
    assert (ended.code, ended.err) == (0, "")
    (line,) = (line for line in ended.out.splitlines() if line.startswith("Its page could not be written ("))
    assert str(error) in line
    assert line.endswith("riverrun report run")
    assert "Next, write with the best model" in ended.out


@pytest.mark.xdist_group("processes")
def test_the_page_is_served_until_it_is_interrupted(run):
    command = [sys.executable, "-m", "riverrun", "serve", "run", "--port", "0"]
    # Where the tests run in the background, they ignore a signal that their processes must hear.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes, **heard) as process:
        try:
            line = process.stdout.readline()
            address = re.fullmatch(
                r"run: (http://127\.0\.0\.1:\d+/) shows it live; Ctrl-C ends this\n", line
            )[1]
            with urllib.request.urlopen(f"{address}facts.json", timeout=20) as answer:
                facts = json.load(answer)
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (facts["run"], facts["live"], facts["nodes"][0]["step"]) == ("run", True, 40)
    assert (process.returncode, *rest) == (130, "", "")


def test_asked_to_end_it_ends_with_the_signal_s_code(riverrun, run, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: signal.raise_signal(signal.SIGTERM))
    ended = riverrun("serve", "run", "--port", 0)
    assert (ended.code, ended.err) == (143, "")
    assert ended.out.endswith(" shows it live; Ctrl-C ends this\n")


def test_a_port_that_is_taken_or_none_is_one_line(riverrun, run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert riverrun("serve", "run", "--port", port).complaint == (
            f"--port: {port} cannot be had (Address already in use); name another, or 0 for any that is free"
        )
    for port in (80, 65536, -1):
        assert riverrun("serve", "run", "--port", port).complaint == (
            f"--port: got {port}; must be from 1024 to 65535, or 0 for any that is free"
        )
