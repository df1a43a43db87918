"""Of ranks that train together, the first alone feeds trackers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ranks"))  # where the ranks' processes find it, too

from rank_processes import World, train_as_rank

from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.trackers.tensorboard import last_step


@pytest.mark.xdist_group("processes")
def test_two_ranks_feed_a_tracker_once(tiny_recipe, tmp_path):
    pytest.importorskip("tensorboard")
    recipe = tiny_recipe('metrics.trackers=["tensorboard"]')
    world = World(train_as_rank, (recipe.to_dict(), tmp_path / "run", "20 steps"), 2, True)
    try:
        assert world.results() == [(20, 0), (20, 0)]
    finally:
        world.close()
    trunk = Tree.open(tmp_path / "run").trunk
    assert last_step(trunk.path / "tensorboard") == 20
    assert len(list((trunk.path / "tensorboard").iterdir())) == 1
    # A second one would have found the first one feeding, and told so.
    assert "warning" not in {event["event"] for event in read_records(trunk.path / "events.jsonl")}
