"""`riverrun tree`: what a run holds."""

import json
import shutil
import subprocess
import sys

from riverrun.runs.metrics import read_records


def test_it_names_schedule_position_best_readout_and_checkpoints(riverrun, run):
    ended = riverrun("tree", "run")
    assert (ended.code, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    assert "trunk inverse-sqrt, at step 40" in words
    assert "best readout: " in words
    assert "at step 40 (2.56k" in words
    assert "checkpoints: 10, 15, 23, 34, 39, 40" in words


def test_as_json_it_agrees_with_the_record(riverrun, run):
    ended = riverrun("tree", "run", "--json")
    found = json.loads(ended.out)
    (trunk,) = found["nodes"]
    assert found["run"] == "run"
    assert (trunk["id"], trunk["parent"], trunk["schedule"], trunk["step"]) == (
        "trunk",
        None,
        "inverse-sqrt",
        40,
    )
    assert trunk["checkpoints"] == [10, 15, 23, 34, 39, 40]
    (last,) = read_records(run / "trunk/evaluations.jsonl")
    losses = {name: last[f"loss/{name}"] for name in ("raw", "ema-25", "ema-6.25")}
    name = min(losses, key=losses.get)
    assert trunk["best"] == {
        "readout": name,
        "loss": losses[name],
        "bpb": last[f"bpb/{name}"],
        "step": 40,
        "tokens": 2560,
    }


def test_a_run_that_was_killed_early_says_so(riverrun, run):
    shutil.rmtree(run / "trunk/checkpoints")
    for record in ("metrics", "evaluations"):
        (run / f"trunk/{record}.jsonl").write_text("")
    ended = riverrun("tree", "run")
    assert "no readout yet" in ended.out
    assert "checkpoints: none yet" in ended.out
    assert json.loads(riverrun("tree", "run", "--json").out)["nodes"][0]["best"] is None


def test_it_changes_nothing(riverrun, run, files_below):
    before = files_below(run)
    riverrun("tree", "run")
    assert files_below(run) == before


def test_a_reader_that_goes_away_is_no_crash(run):
    command = [sys.executable, "-m", "riverrun", "tree", "run", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        complaint = process.stderr.read()
        process.wait(timeout=60)
    assert (process.returncode, complaint) == (141, b"")
