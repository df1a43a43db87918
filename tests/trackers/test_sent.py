"""What a kill may have taken with it does not count as sent."""

import pytest

from riverrun.trackers import sent
from riverrun.trackers.sent import Sent, folder_of


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [0.0]
    monkeypatch.setattr(sent.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def again(tree):
    """A function that reads what was noted, as the next process does."""
    folder_of(tree.trunk, "wandb").mkdir(parents=True)
    return lambda place="here": Sent(tree.trunk, "wandb", {"project": place})


def test_lines_count_when_they_were_given_a_while_ago(clock, again):
    noted = again()
    for step in range(1, 101):
        clock[0] = step * 1.0
        noted.gave(step, "look here")
    assert (again().step, again().look) == (100 - sent._SECONDS_TO_SETTLE, "look here")


def test_closed_all_lines_count(clock, again):
    noted = again()
    for step in (3, 6, 9):
        noted.gave(step, "look here")
    assert again().step == 0
    noted.closed()
    assert again().step == 9
    again().closed()  # nothing was given
    assert again().step == 9


def test_another_place_has_nothing_yet(clock, again):
    noted = again()
    noted.gave(3, "look here")
    noted.closed()
    assert (again("elsewhere").step, again("elsewhere").look) == (0, "")


def test_a_torn_note_is_none(again, tree):
    (folder_of(tree.trunk, "wandb") / "sent.json").write_text('{"place": {"pro')
    assert again().step == 0
