import pytest

from riverrun.errors import SettingError
from riverrun.train import build_plan
from riverrun.train.trunk import stopping_position


@pytest.fixture
def plan(tiny_recipe):
    """1x is 64 steps of 64 tokens."""
    return build_plan(tiny_recipe("one_x=64 steps"), vocabulary=257)


@pytest.mark.parametrize(
    ("until", "step", "stop"),
    [
        (None, 7, float("inf")),
        ("10 steps", 7, 10),
        ("10 steps", 70, 10),
        ("65 tokens", 0, 2),
        ("2x", 0, 128),
        ("next 1x", 0, 64),
        ("next 1x", 63, 64),
        ("next 1x", 64, 128),
        ("next 10 steps", 30, 40),
        ("next 1 step", 10**6, 10**6 + 1),
        ("next 100 tokens", 2, 4),  # 128 tokens are done; 200 are reached by the 4th step
        ("next 0.5x", 33, 64),
    ],
)
def test_where_training_stops(until, step, stop, plan):
    assert stopping_position(until, plan, step) == stop


def test_the_next_multiple_of_nothing_is_refused(plan):
    with pytest.raises(SettingError, match="next 0x"):
        stopping_position("next 0x", plan, 3)
