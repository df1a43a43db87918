"""Under a real launcher: a worker that is killed, and all of them started again."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rank_processes import train_as_rank

from riverrun.runs.metrics import read_records
from riverrun.train import load_recipe

RECIPE = """
[model]
family = "llama"
layers = 2
width = 16
heads = 2
context = 16
tied = true
[batch]
sequences = 6
[optimizer]
peak_lr = 1e-2
[schedule]
kind = "inverse-sqrt"
warmup = "5 steps"
offset = "20 steps"
[averaging]
tracks = ["half-life:25"]
[readouts]
first = "8 steps"
ratio = 2.0
sequences = 8
[checkpoints]
first = "8 steps"
ratio = 2.0
every = "20 steps"
[metrics]
every = 1
[engine]
device = "cpu"
precision = "fp32"
threads = 1
parallel = "fsdp"
"""

UNTIL = "150 steps"


def children(pid):
    """The pids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def works(pid):
    """Whether a process was told its rank by the launcher."""
    with suppress(OSError):
        return b"\0LOCAL_RANK=" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    return False


@pytest.mark.slow
def test_torchrun_starts_all_ranks_again_when_one_is_killed(start, run_bits, tmp_path):
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "--max-restarts", "2", "-m", "--", "riverrun", "train", str(recipe)]
    with open(tmp_path / "complaints", "w") as complaints:
        process = subprocess.Popen(
            [*command, "--run", str(run), "--until", UNTIL, "--quiet"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stderr=complaints,
        )
    try:
        while process.poll() is None and len(read_records(run / "trunk/metrics.jsonl")) < 25:
            time.sleep(0.01)
        workers = [pid for pid in children(process.pid) if works(pid)]
        assert len(workers) == 2
        os.kill(max(workers), signal.SIGKILL)
        process.wait(timeout=200)
    finally:
        left = [pid for pid in children(process.pid) if works(pid)]
        process.kill()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert process.returncode == 0, (tmp_path / "complaints").read_text()
    assert (
        len([event for event in read_records(run / "trunk/events.jsonl") if event["event"] == "start"]) == 2
    )
    start(train_as_rank, load_recipe(recipe, ()).to_dict(), tmp_path / "once", UNTIL).results()
    assert run_bits(run, 150) == run_bits(tmp_path / "once", 150)
