import json

import pytest

from riverrun.ranks import Ranks
from riverrun.runs import Tree
from riverrun.train import Quiet, open_session
from riverrun.train.journal import Journal


class Told(Quiet):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize(("seconds", "slow"), [([1.0, 1.1, 0.9, 1.2], []), ([1.0, 1.1, 3.3, 1.0], [2])])
def test_a_rank_that_takes_much_longer_than_others_is_named(seconds, slow, tiny_recipe, tmp_path):
    class FourRanks(Ranks):
        def each(self, work):
            assert work() >= 0.0
            return seconds

    node = Tree(tmp_path / "run").trunk
    node.path.mkdir(parents=True)
    session = open_session(tiny_recipe(), node, print)
    object.__setattr__(session, "ranks", FourRanks())
    told = Told()
    journal = Journal(session, told)
    journal.throughput()
    events = [json.loads(line) for line in (node.path / "events.jsonl").read_text().splitlines()]
    assert [event["rank"] for event in events if event["event"] == "straggler"] == slow
    assert [event["event"] for event in events].count("throughput") == 1
    assert len(told.notes) == len(slow)
    assert all("3.3 times as long" in note for note in told.notes)
