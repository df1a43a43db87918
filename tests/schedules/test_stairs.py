import numpy as np
import pytest

from riverrun.schedules import Schedule, Stairs


def test_the_update_after_a_position_is_the_first_with_its_value():
    schedule = Stairs(at=(10, 25), values=(0.5, 0.75))
    assert [schedule(s) for s in (0, 1, 10, 11, 25, 26, 10**9)] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.75, 0.75]


def test_the_positions_count_from_zero_and_the_warmup_stays_as_it_is():
    plain, warm = (Stairs(warmup=w, at=(10, 25), values=(0.5, 0.25)) for w in (0, 8))
    steps = np.arange(60)
    np.testing.assert_array_equal(warm(steps[9:]), plain(steps[9:]))
    np.testing.assert_array_equal(warm(steps[:9]), steps[:9] / 8)


def test_a_stair_may_follow_the_warmup_at_once():
    schedule = Stairs(warmup=10, at=(10,), values=(0.5,))
    assert schedule(10) == 1.0
    assert schedule(11) == 0.5


def test_every_value_is_used_and_nothing_between():
    values = tuple(np.linspace(0, 1, 40))
    schedule = Stairs(at=range(3, 123, 3), values=values)
    assert set(schedule(np.arange(1, 200))) == {1.0, *values}


def test_as_plain_data_it_has_lists():
    plain = {"kind": "stairs", "warmup": 3, "warmup_start": 0.0, "at": [5, 9], "values": [0.5, 0.0]}
    assert Schedule.from_dict(plain).to_dict() == plain
    assert Stairs.step_fields() == ("warmup", "at")
    assert Stairs(at=[5, 9], values=[1, 0]).horizon_values() == {"at": (5, 9)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": (5, 9), "values": (0.5,)}, "values: got 1; must be 2, one for each of at"),
        ({"at": (5,), "values": (0.5, 0.4)}, "values: got 2; must be 1, one for each of at"),
        ({"at": (5,), "values": 0.5}, "values: got 0.5; must be a list of fractions"),
        ({"at": (5,), "values": "5"}, "values: got '5'; must be a list of fractions"),
        (
            {"at": (5, 9), "values": (1, 1.5)},
            r"values\[1\]: got 1.5; must be a fraction, at least 0 and at most",
        ),
        ({"at": (9, 5), "values": (0.5, 0.4)}, r"at: got \[9, 5\]; must be .* each above the last"),
        ({"at": (), "values": ()}, "at: got"),
        ({"at": (0,), "values": (0.5,)}, r"at\[0\]: got 0; .*at least 1"),
        ({"at": (5,), "values": (0.5,), "warmup": 6}, "warmup: got 6; must be at most 5, the first of at"),
    ],
)
def test_wrong_arguments_name_the_argument_the_value_and_the_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Stairs(**arguments)
