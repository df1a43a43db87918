import subprocess
import sys

import pytest

from riverrun.runs import Node, RunError, Tree


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    node = Node(tmp_path / "trunk")
    with node.locked():
        (node.path / "thesis.tex").write_text("years of work")
        with pytest.raises(RunError, match=r"thesis\.tex"):
            node.create({})
    assert (node.path / "thesis.tex").exists()


def test_a_node_has_one_writer(tmp_path):
    node = Node(tmp_path / "trunk")
    other = f"""
from pathlib import Path
from riverrun.runs import Node
with Node(Path({str(node.path)!r})).locked():
    pass
"""
    with node.locked():
        refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
        assert "another process is training here" in refused.stderr
    subprocess.run([sys.executable, "-c", other], check=True)


def test_what_a_kill_left_half_made_is_cleared_away(tmp_path):
    node = Node(tmp_path / "trunk")
    for leftover in (
        node.path / ".unfinished-node.json-7",
        node.checkpoint_folder / ".unfinished-00000003-x",
    ):
        leftover.mkdir(parents=True)
        (leftover / "part").write_text("half")
    with node.locked():
        pass
    assert sorted(item.name for item in node.path.rglob("*")) == [".lock", "checkpoints"]


def test_opening_what_is_no_run_says_how_to_start_one(tmp_path):
    with pytest.raises(RunError, match="riverrun train"):
        Tree.open(tmp_path / "nowhere")
