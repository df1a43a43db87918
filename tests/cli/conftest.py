"""A tiny recipe, and the command line as a user would call it, from an empty working directory."""

import os
import random
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from riverrun.data import bundled_corpus

TINY = """\
seed = 3

[model]
family = "llama"
layers = 1
width = 16
heads = 2
context = 16
tied = true

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
tracks = ["half-life:25", "half-life:6.25"]

[readouts]
first = "8 steps"
sequences = 8

[checkpoints]
first = "10 steps"
every = "13 steps"

[metrics]
every = 3

[engine]
device = "cpu"
threads = 1
"""

# As root, a folder without write permission can be written all the same, unless this capability is given up.
# Giving it up takes effect when the process becomes another program.
WITHOUT_OVERRIDE = """
import ctypes, os, sys
if sys.platform == "linux":
    drop_from_bounding_set, may_ignore_permissions = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, may_ignore_permissions, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "riverrun", *sys.argv[1:]])
"""

WITH_LITTLE_MEMORY = """
import resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from riverrun.cli import main
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self):
        """The one line on standard error with which a command that a user can mend ends; the code is 2."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        assert self.err.startswith("riverrun: "), self.err
        assert self.err.endswith("\n"), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.rstrip("\n").removeprefix("riverrun: ")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory: empty but for tiny.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


@pytest.fixture
def riverrun(here, capsys):
    """Call the command line in this process: `riverrun("tree", "run")` gives code, out and err."""
    from riverrun.cli import main

    def call(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return call


@pytest.fixture
def process(here):
    """Call the command line in a process of its own."""

    def call(*arguments, program=("-m", "riverrun"), timeout=120, **settings):
        command = [sys.executable, *program, *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **settings)
        return Ended(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def with_small_files(riverrun):
    """Call the command line while no file can grow past so many bytes.

    Writes then fail as on a full disk, for any user on any system; Python ignores the signal that comes with it.
    """
    bundled_corpus()  # is in its cache from here on

    def call(limit, *arguments):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            return riverrun(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return call


@pytest.fixture
def with_little_memory(process):
    """Call the command line where so many bytes of memory and half a minute are all there is."""
    return lambda limit, *arguments: process(
        limit, *arguments, program=("-c", WITH_LITTLE_MEMORY), timeout=30
    )


@pytest.fixture
def bound_by_permissions(process):
    """Call the command line as somebody for whom permissions count, also when the tests run as root."""
    return lambda *arguments: process(*arguments, program=("-c", WITHOUT_OVERRIDE))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of the tiny recipe at step 40; not to be changed."""
    from riverrun.cli import main

    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TINY)
    before = torch.get_num_threads()
    arguments = ["train", str(folder / "tiny.toml"), "--run", str(folder / "run"), "--until", "40 steps"]
    assert main([*arguments, "--quiet"]) == 0
    torch.set_num_threads(before)
    return folder / "run"


@pytest.fixture
def run(trained, here):
    """A copy of that run to do anything with, as the folder `run` of the working directory."""
    shutil.copytree(trained, here / "run")
    return here / "run"


@pytest.fixture(scope="session")
def trained_with_history(tmp_path_factory):
    """The tiny recipe with a history, at step 60, and a branch `end` that decays from step 34 to 54; not to be changed.

    `iterates.pt` beside it has the weights after each update, {node: [steps, elements]}, from a run without a history.
    """
    from riverrun.cli import main
    from riverrun.train.state import State

    folder = tmp_path_factory.mktemp("history")
    (folder / "tiny.toml").write_text(TINY)
    before = torch.get_num_threads()

    def grow(run, *settings):
        train = ["train", str(folder / "tiny.toml"), "--run", str(run), "--until", "60 steps", "--quiet"]
        assert main([*train, *settings]) == 0
        decay = ["--at", "34", "--length", "20 steps", "--name", "end", "--quiet"]
        assert main(["branch", str(run), *decay]) == 0

    grow(folder / "run", "--set", "averaging.history.resolution=4")
    weights = []
    update = State.update_averages

    def record(state):
        weights.append(torch.cat([parameter.detach().flatten() for parameter in state.parameters]))
        update(state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "update_averages", record)
        grow(folder / "recorded")
    trunk, branch = torch.stack(weights[:60]), torch.stack(weights[60:])
    torch.save({"trunk": trunk, "end": torch.cat([trunk[:34], branch])}, folder / "iterates.pt")
    torch.set_num_threads(before)
    return folder / "run"


@pytest.fixture
def run_with_history(trained_with_history, here):
    """A copy of that run to do anything with, as the folder `run` of the working directory."""
    shutil.copytree(trained_with_history, here / "run")
    return here / "run"


@pytest.fixture
def texts(here):
    """A function that writes a folder of small text files: made-up words, other ones for another seed."""

    def write(name, seed=0, files=40):
        chance = random.Random(seed)
        words = ["".join(chance.choices("abcdefghijklm", k=chance.randrange(2, 8))) for _ in range(300)]
        folder = here / name
        folder.mkdir()
        for number in range(files):
            (folder / f"{number}.txt").write_text(" ".join(chance.choices(words, k=150)))
        return folder

    return write


@pytest.fixture
def files_below():
    """Path -> content of every file below a folder."""

    def read(folder):
        found = (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
        return {os.path.relpath(path, folder): open(path, "rb").read() for path in found}

    return read
