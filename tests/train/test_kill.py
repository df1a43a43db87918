"""Nothing is lost to a kill, whenever it comes: real processes, real signals."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from riverrun.runs.metrics import read_records

TRAIN = """
import json, sys
from pathlib import Path
from riverrun.train import parse_recipe, train
recipe = parse_recipe(json.loads(sys.argv[1]))
sys.exit(train(recipe, Path(sys.argv[2]), sys.argv[3]).exit_code)
"""


def start(recipe, run, until):
    command = [sys.executable, "-c", TRAIN, json.dumps(recipe.to_dict()), str(run), until]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals
    )


def hear_signals():
    """Where the tests run in the background or under nohup, they ignore signals that their processes must hear."""
    for which in (signal.SIGINT, signal.SIGHUP):
        signal.signal(which, signal.SIG_DFL)


def position(run):
    records = read_records(run / "trunk/metrics.jsonl")
    return records[-1]["step"] if records else 0


def wait_for_progress(process, run, steps):
    """Until the run has made so many more steps, or has ended."""
    goal = position(run) + steps
    while process.poll() is None and position(run) < goal:
        time.sleep(0.01)


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_end_is_bit_for_bit_the_uninterrupted_one(
    kills, tiny_recipe, run_bits, tmp_path
):
    recipe = tiny_recipe("metrics.every=1", "checkpoints.every=11 steps")
    end = 1_000_000  # out of reach
    chance = random.Random(20)
    run = tmp_path / "killed"
    for kill in range(kills):
        process = start(recipe, run, f"{end} steps")
        if kill % 2:
            wait_for_progress(process, run, chance.randrange(1, 130))
            time.sleep(chance.random() * 0.02)  # between steps, in a save, in an evaluation
        else:
            time.sleep(chance.random() * 3)  # while it starts, creates the run, goes back to a checkpoint
        process.send_signal(signal.SIGKILL)
        _, complaint = process.communicate()
        assert process.returncode == -signal.SIGKILL, complaint
    final = position(run) + 30
    process = start(recipe, run, f"{final} steps")
    _, complaint = process.communicate()
    assert process.returncode == 0, complaint
    process = start(recipe, tmp_path / "once", f"{final} steps")
    process.communicate()
    assert run_bits(run, final) == run_bits(tmp_path / "once", final)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_leaves_with_its_exit_code(which, tiny_recipe, run_bits, tmp_path):
    recipe = tiny_recipe("metrics.every=1")
    run = tmp_path / "run"
    process = start(recipe, run, "100000 steps")
    wait_for_progress(process, run, 20)
    process.send_signal(which)
    try:
        _, complaint = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + which, complaint
    left = position(run)
    assert (run / f"trunk/checkpoints/{left:08d}/manifest.json").exists()
    process = start(recipe, tmp_path / "once", f"{left} steps")
    process.communicate()
    assert run_bits(run, left) == run_bits(tmp_path / "once", left)


def test_a_signal_that_is_ignored_stays_ignored(tiny_recipe, tmp_path):
    """Under nohup a hang-up must not end the run."""
    command = ["import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)", TRAIN]
    arguments = [json.dumps(tiny_recipe("metrics.every=1").to_dict()), str(tmp_path / "run"), "600 steps"]
    process = subprocess.Popen([sys.executable, "-c", "\n".join(command), *arguments])
    wait_for_progress(process, tmp_path / "run", 20)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=120) == 0
    assert position(tmp_path / "run") == 600
