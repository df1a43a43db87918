"""What holds for all tests."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def run_snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A function that runs the Python blocks of a page of the docs, one after another, in an empty folder.

    Given names that the page takes as known, it returns all that the blocks defined.
    """

    def run(page: str, **known: Any) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        text = (DOCS / page).read_text(encoding="utf-8")
        blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        assert blocks, f"{page} has no Python"
        for block in blocks:
            lines_above = "\n" * text.count("\n", 0, block.start(1))  # tracebacks then name the page's lines
            exec(compile(lines_above + block[1], DOCS / page, "exec"), known)
        return known

    return run


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
