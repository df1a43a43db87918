"""benchmarks/gpu.py needs a GPU to tell anything; that its code runs is seen without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(*options, **environment):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_without_a_gpu_it_says_so_and_leaves_in_peace():
    done = run(CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (0, "benchmarks/gpu.py: no CUDA device; skipped\n")


def test_everything_is_measured_at_a_toy_size(tmp_path):
    written = tmp_path / "results.json"
    done = run("--device", "cpu", "--tiny", "--rounds", "1", "--folder", tmp_path, "--json", written)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(written.read_text())["results"]
    loops = [name for name, measured in result.items() if isinstance(measured, dict)]
    assert loops == [
        "riverrun, with averages",
        "riverrun, without averages",
        "plain compiled loop",
        "Hugging Face Trainer, Llama",
    ]
    for name in loops:
        assert result[name]["tokens_per_second"] > 0
        assert result[name]["microbatch"] == 4
        assert name in done.stdout
    for aim in ("aim at least 50%", "aim below 1%", "aim below 1 s"):
        assert aim in done.stdout
    assert list(tmp_path.iterdir()) == [written]


def test_the_microbatch_is_halved_until_it_fits(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parents[1])
    from benchmarks.gpu_device import largest_that_fits

    tried = []

    def attempt(microbatch):
        tried.append(microbatch)
        if microbatch > 20:
            raise torch.OutOfMemoryError
        return microbatch

    assert largest_that_fits(128, torch.device("cpu"), attempt) == 16
    assert tried == [128, 64, 32, 16]
