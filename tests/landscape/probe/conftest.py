"""Tiny runs to probe: trained once, with two decayed branches, of either family."""

import contextlib
import io
import os

import pytest
import torch

RECIPE = """\
seed = 3

[model]
family = "FAMILY"
layers = 1
width = 16
heads = 2
context = 16
tied = TIED

[data]
corpus = "bundled"

[batch]
sequences = 4

[optimizer]
peak_lr = 1e-2

[schedule]
kind = "inverse-sqrt"
warmup = "5 steps"
offset = "20 steps"

[averaging]
tracks = ["half-life:25"]

[readouts]
first = "10 steps"
sequences = 32

[checkpoints]
first = "1000 steps"
every = "10 steps"
keep = 10

[engine]
device = "cpu"
precision = "fp32"
threads = 1
"""


def _grow(folder, family, tied, decays):
    from riverrun.cli import main

    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE.replace("FAMILY", family).replace("TIED", tied))
    before = torch.get_num_threads()
    with contextlib.redirect_stdout(io.StringIO()):
        train = ["train", str(recipe), "--run", str(folder / "run"), "--until", "40 steps", "--quiet"]
        assert main(train) == 0
        for at in decays:
            assert main(["branch", str(folder / "run"), "--at", at, "--length", "10 steps", "--quiet"]) == 0
    torch.set_num_threads(before)
    return folder / "run"


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Llama, tied: the trunk at step 40, decays from 20 to 30 and from 40 to 50; not to be changed."""
    return _grow(tmp_path_factory.mktemp("llama"), "llama", "true", ("20", "40"))


@pytest.fixture(scope="session")
def run_without_decays(tmp_path_factory):
    """OLMo, untied: the trunk alone; not to be changed."""
    return _grow(tmp_path_factory.mktemp("olmo"), "olmo", "false", ())


@pytest.fixture
def files_below():
    """Path -> content of every file below a folder."""

    def read(folder):
        found = (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
        return {os.path.relpath(path, folder): open(path, "rb").read() for path in found}

    return read
