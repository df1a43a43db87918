"""What holds for all tests."""

from collections.abc import Iterator

import hypothesis
import pytest
import torch

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
