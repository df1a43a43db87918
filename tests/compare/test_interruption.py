"""Comparisons in processes of their own: killed, told to stop, spread over workers, over Ray."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from riverrun.cli import main
from riverrun.runs import Tree

# Each runs up to three processes; two of them side by side would crowd a small machine.
pytestmark = pytest.mark.xdist_group("processes")

# Long enough to be killed in, short enough to be run twice.
OVERRIDES = (
    'budgets=["150 steps","300 steps"]',
    'sweep={"optimizer.peak_lr"=[0.01]}',
    "recipe.metrics.every=50",
)
ARMS = ("cosine", "constant", "wsd", "wsds")


@pytest.fixture
def plan_file(plan_table, tmp_path):
    plan_table["arms"] = {name: plan_table["arms"][name] for name in ARMS}
    # TOML has no writer in the standard library, and every JSON value here is TOML but for the tables' colons.
    path = tmp_path / "few.toml"
    path.write_text("".join(f"{key} = {_inline(value)}\n" for key, value in plan_table.items()))
    return path


def _inline(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def command(plan, out, *more):
    settings = [word for override in OVERRIDES for word in ("--set", override)]
    return [sys.executable, "-m", "riverrun", "compare", str(plan), "--out", str(out), *settings, *more]


def start(plan, out, *more):
    # A shell ignores SIGINT for what it starts in the background, and what ignores it is told nothing.
    return subprocess.Popen(
        command(plan, out, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def told(folder):
    """What a comparison says, but for the command that made it."""
    return {name: (folder / name).read_bytes() for name in ("results.csv", "table.md", "claims.md")}


def progress_in(folder):
    return sum(
        len(tree.checkpoints()) for path in folder.glob("*/trunk") for tree in Tree(path.parent).nodes()
    )


def wait_for(process, folder, more_than):
    deadline = time.monotonic() + 120
    while process.poll() is None and progress_in(folder) <= more_than:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_at_random_moments_three_times_it_gives_the_same_table(plan_file, tmp_path):
    assert main(command(plan_file, tmp_path / "once", "--quiet", "--workers", "1")[3:]) == 0
    chance, killed = random.Random(5), 0
    for _ in range(3):
        process = start(plan_file, tmp_path / "killed", "--workers", "2")
        wait_for(process, tmp_path / "killed", progress_in(tmp_path / "killed"))
        time.sleep(chance.uniform(0, 0.3))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed == 3
    last = start(plan_file, tmp_path / "killed", "--workers", "2")
    printed, _ = last.communicate(timeout=300)
    assert last.returncode == 0, printed
    assert told(tmp_path / "killed") == told(tmp_path / "once")


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_what_is_in_hand_and_goes_on_later(which, plan_file, tmp_path):
    process = start(plan_file, tmp_path / "out", "--workers", "2")
    wait_for(process, tmp_path / "out", 0)
    process.send_signal(which)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + which, printed
    assert "Interrupted; the same command goes on from here." in printed
    assert "Traceback" not in printed
    trunks = [Tree(path.parent).trunk for path in (tmp_path / "out").glob("*/trunk")]
    for trunk in trunks:
        with trunk.locked():  # nobody is left that trains
            assert trunk.latest_checkpoint(print) is not None or trunk.readouts() == []


def test_two_comparisons_do_not_write_into_one_folder(plan_file, tmp_path):
    process = start(plan_file, tmp_path / "out", "--workers", "1")
    try:
        wait_for(process, tmp_path / "out", 0)
        second = subprocess.run(
            command(plan_file, tmp_path / "out"), capture_output=True, text=True, timeout=120
        )
        assert second.returncode == 2
        assert "another process is comparing here" in second.stderr
    finally:
        process.terminate()
        process.communicate(timeout=120)


def test_a_worker_that_dies_is_replaced_and_its_run_tried_again(plan_file, tmp_path):
    process = start(plan_file, tmp_path / "out", "--workers", "2")
    wait_for(process, tmp_path / "out", 0)
    workers = _children(process.pid)
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "tried again" in printed
    assert "failed at first, then done" in printed


def _children(parent):
    """The processes that train: children of the command that run Python's spawned main."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,ppid=,args=", "-A"], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(maxsplit=2) for line in listed.splitlines())
    return [int(row[0]) for row in rows if int(row[1]) == parent and "spawn_main" in row[2]]


def test_on_a_ray_cluster_it_gives_the_same_table(plan_file, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    assert main(command(plan_file, tmp_path / "local", "--quiet", "--workers", "1")[3:]) == 0
    assert (
        main(command(plan_file, tmp_path / "ray", "--quiet", "--launcher", "ray", "--workers", "2")[3:]) == 0
    )
    assert told(tmp_path / "ray") == told(tmp_path / "local")
