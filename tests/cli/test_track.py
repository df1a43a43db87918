"""`riverrun track`: what it says, and that it sends each step once. See tests/trackers for what arrives."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("tensorboard")

from riverrun.trackers import tensorboard


def last_step(node_folder):
    return tensorboard.last_step(node_folder / "tensorboard")


def test_it_says_how_much_went_where_and_how_to_look(riverrun, run):
    riverrun("branch", "run", "--length", "20 steps", "--name", "end", "--quiet")
    ended = riverrun("track", "run", "--to", "tensorboard")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "trunk: 17 steps sent, the last is step 40\n"
        "end: 7 steps sent, the last is step 60\n"
        "to look at them: tensorboard --logdir run\n"
    )
    assert (last_step(run / "trunk"), last_step(run / "branches/end")) == (40, 60)
    again = riverrun("track", "run", "--to", "tensorboard")
    assert again.out == (
        "trunk: nothing new since step 40\n"
        "end: nothing new since step 60\n"
        "to look at them: tensorboard --logdir run\n"
    )


def test_only_the_node_that_is_named_is_sent(riverrun, run):
    riverrun("branch", "run", "--length", "20 steps", "--name", "end", "--quiet")
    ended = riverrun("track", "run", "--to", "tensorboard", "--node", "end")
    assert ended.out.startswith("end: 7 steps sent")
    assert not (run / "trunk/tensorboard").exists()
    assert "has no node 'ende'; did you mean 'end'?" in (
        riverrun("track", "run", "--to", "tensorboard", "--node", "ende").complaint
    )


def test_a_run_of_which_nothing_is_recorded_makes_no_run_of_the_tracker(riverrun, run):
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        (run / "trunk" / name).unlink()
    assert riverrun("track", "run", "--to", "tensorboard").out == "trunk: nothing recorded yet\n"
    assert not (run / "trunk/tensorboard").exists()


def test_an_unknown_tracker_or_none_is_answered_with_what_there_is(riverrun, run, files_below):
    before = files_below(run)
    assert riverrun("track", "run", "--to", "tensorbord").complaint == (
        "--to: got 'tensorbord'; must be one of tensorboard, wandb, trackio, mlflow; did you mean 'tensorboard'?"
    )
    assert riverrun("track", "run").complaint == (
        "--to: got nothing; name one of tensorboard, wandb, trackio, mlflow"
    )
    assert files_below(run) == before


def test_following_says_where_to_look_once_there_is_something(riverrun, run, monkeypatch):
    """Of a run that begins, and of an address that the tracker has only then."""
    records = [run / "trunk" / name for name in ("metrics.jsonl", "evaluations.jsonl")]
    recorded = [path.read_bytes() for path in records]
    for path in records:
        path.unlink()
    looks = iter(range(3))

    def look(_):
        """What happens between two looks at the record."""
        if next(looks) == 2:
            signal.raise_signal(signal.SIGTERM)
        for path, content in zip(records, recorded, strict=True):
            path.write_bytes(content)

    monkeypatch.setattr(time, "sleep", look)
    ended = riverrun("track", "run", "--to", "tensorboard", "--follow")
    assert ended.out == (
        "trunk: nothing recorded yet\nto look at them: tensorboard --logdir run\ntrunk up to step 40\n"
    )


@pytest.mark.xdist_group("processes")
def test_it_follows_a_run_and_its_new_branches_until_a_signal(riverrun, run):
    command = [sys.executable, "-m", "riverrun", "track", "run", "--to", "tensorboard", "--follow"]
    # Where the tests run in the background, they ignore a signal that their processes must hear.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    settings = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **settings, **heard) as process:
        try:
            assert process.stdout.readline() == "trunk: 16 steps sent, the last is step 39\n"
            assert process.stdout.readline() == "to look at them: tensorboard --logdir run\n"
            riverrun("train", "tiny.toml", "--run", "run", "--until", "50 steps", "--quiet")
            riverrun("branch", "run", "--length", "20 steps", "--name", "end", "--quiet")
            assert process.stdout.readline().startswith("end: ")
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
        finally:
            process.kill()
    assert rest.endswith("trunk up to step 50, end up to step 70\n")
    assert process.returncode == 130
    assert (last_step(run / "trunk"), last_step(run / "branches/end")) == (50, 70)
