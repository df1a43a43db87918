"""What holds for all tests."""

import shutil
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import torch

from riverrun.runs import checkpoint

# A test must not fail because the machine is busy.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on several threads stall on a busy machine; a test that sets another number has it undone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_optimizer() -> Callable[[checkpoint.Checkpoint], None]:
    """A function that writes a checkpoint again with its weights alone, as tools that export weights do."""

    def strip(saved: checkpoint.Checkpoint) -> None:
        tensors = {
            name: torch.empty(shape, dtype=dtype)
            for name, (shape, dtype) in saved.names().items()
            if not name.startswith("optimizer.")
        }
        saved.load_some(tensors)
        written = ("format", "step", "files")
        counters = {key: value for key, value in saved.manifest.items() if key not in written}
        shutil.rmtree(saved.path)
        checkpoint.save(saved.path.parent, saved.step, tensors, counters)

    return strip
