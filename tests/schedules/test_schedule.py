import copy
import dataclasses
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.schedules import (
    WSD,
    WSDS,
    Constant,
    Cosine,
    CyclicCosine,
    InverseSqrt,
    PiecewiseLinear,
    PowerDecay,
    Schedule,
    Stairs,
    kinds,
)


@given(data=st.data())
def test_scalars_and_arrays_agree_bit_for_bit(any_schedule, data):
    schedule = data.draw(any_schedule)
    steps = data.draw(st.lists(st.integers(0, 500), min_size=1, max_size=30))
    array = schedule(np.array(steps))
    assert array.dtype == np.float64
    assert [schedule(step) for step in steps] == array.tolist()


def test_a_long_array_agrees_with_its_pieces(schedule):
    steps = np.arange(30_000)
    whole = schedule(steps)
    scattered = np.random.default_rng(0).permutation(steps)
    np.testing.assert_array_equal(schedule(scattered), whole[scattered])
    np.testing.assert_array_equal(schedule(steps.reshape(100, 300)), whole.reshape(100, 300))
    assert [schedule(int(s)) for s in steps[:200]] == whole[:200].tolist()


def test_every_multiplier_lies_between_zero_and_one(schedule):
    values = schedule(np.arange(300))
    assert values.min() >= 0
    assert values.max() <= 1


def test_forms_of_input(schedule):
    assert type(schedule(3)) is float
    assert type(schedule(np.int32(3))) is float
    assert schedule(np.arange(0)).shape == (0,)
    assert schedule(np.array([3, 4], dtype=np.uint8)).tolist() == [schedule(3), schedule(4)]


@pytest.mark.parametrize("step", [-1, 1.0, 1.5, float("nan"), True, "3", None, 2**60, 10**400])
def test_a_step_is_a_whole_number_from_zero(schedule, step):
    with pytest.raises(ValueError, match="step: got"):
        schedule(step)
    with pytest.raises(ValueError, match="step: got"):
        schedule(np.array([1, step]) if isinstance(step, int | float) and step is not True else [step])


def test_warmup_is_linear_from_its_start_and_ends_at_the_peak():
    schedule = InverseSqrt(warmup=5000, warmup_start=0.1, offset=51_200)
    assert schedule(0) == 0.1
    assert schedule(2500) == pytest.approx(0.55)
    assert schedule(5000) == 1.0
    assert schedule(5001) == pytest.approx((51_200 / 51_201) ** 0.5)


@pytest.mark.parametrize("start", [0.0, 0.1, 0.3, 1 / 3, 0.7, 1.0])
def test_the_last_warmup_step_uses_the_peak_exactly(start):
    assert Constant(warmup=4999, warmup_start=start)(4999) == 1.0


def test_without_warmup_position_zero_shows_the_start_of_the_body(examples):
    assert Constant()(0) == 1.0
    assert Constant()(1) == 1.0
    assert PowerDecay(exponent=0.5, offset=3)(0) == 1.0
    assert Constant(warmup=10)(0) == 0.0


def test_horizon_free_bodies_follow_their_formulas():
    u = np.array([1, 10, 1000])
    np.testing.assert_allclose(InverseSqrt(offset=51_200)(u), np.sqrt(51_200 / (u + 51_200)), rtol=1e-15)
    schedule = PowerDecay(warmup=100, exponent=0.4, offset=1000)
    np.testing.assert_allclose(schedule(u + 100), (1000 / (u + 1000)) ** 0.4, rtol=1e-15)
    assert PowerDecay(exponent=0)(10**9) == 1.0
    assert InverseSqrt(offset=100)(300) == 0.5


def test_which_kinds_are_horizon_free(schedule):
    assert schedule.horizon_free == (schedule.kind in ("constant", "inverse-sqrt", "power-decay"))


def test_a_horizon_moves_the_past_and_nothing_else_does(schedule):
    """Every field that is named as a horizon, moved outwards, changes some earlier value."""
    early = np.arange(1, 121)
    for name in schedule.horizons:
        value = getattr(schedule, name)
        longer = tuple(2 * v for v in value) if isinstance(value, tuple) else 2 * value
        moved = dataclasses.replace(schedule, **{name: longer})
        assert (moved(early) != schedule(early)).any(), name


def test_horizons_and_durations_are_named():
    assert Cosine.horizons == ("total",)
    assert Cosine.step_fields() == ("warmup", "total")
    assert WSDS.step_fields() == ("warmup", "budgets")
    assert InverseSqrt.step_fields() == ("warmup", "offset")
    decayed = Cosine(total=100).decay(at=50, steps=10)
    assert decayed.horizon_values() == {"at": 50, "steps": 10, "base.total": 100}
    assert decayed.step_fields() == ("at", "steps")
    assert Constant(warmup=5).decay(at=50, steps=10).horizon_values() == {"at": 50, "steps": 10}


@given(data=st.data())
def test_plain_data_round_trip(any_schedule, data):
    schedule = data.draw(any_schedule)
    plain = json.loads(json.dumps(schedule.to_dict()))
    again = Schedule.from_dict(plain)
    assert again == schedule
    assert type(again) is type(schedule)
    steps = np.arange(500)
    np.testing.assert_array_equal(again(steps), schedule(steps))


def test_schedules_are_values(schedule):
    for twin in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule)), eval_repr(schedule)):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert twin.decay(at=20, steps=5)(22) == schedule.decay(at=20, steps=5)(22)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.warmup = 3


def eval_repr(schedule):
    import riverrun.schedules

    return eval(repr(schedule), vars(riverrun.schedules))


def test_every_kind_is_registered(schedule):
    assert kinds()[schedule.kind] is type(schedule)
    ours = {name for name, kind in kinds().items() if kind.__module__.startswith("riverrun.")}
    assert ours == {  # pages of the docs that ran before may have registered more
        "constant",
        "inverse-sqrt",
        "power-decay",
        "cosine",
        "linear",
        "cyclic-cosine",
        "wsd",
        "wsds",
        "stairs",
        "piecewise-linear",
        "continued",
        "decayed",
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "cosin", "total": 5}, "kind: got 'cosin'; .*did you mean 'cosine'"),
        ({"total": 5}, "kind: got None; must be one of constant, "),
        ({"kind": "cosine", "totl": 5}, "cosine schedule: got 'totl'; .*did you mean 'total'"),
        ({"kind": "inverse-sqrt"}, "inverse-sqrt schedule: has no offset"),
        ({"kind": "wsd", "budget": 50, "of": "budgets"}, "of: got 'budgets'; .*did you mean 'budget'"),
        ({"kind": "decayed", "base": 3, "at": 1, "steps": 1}, "base: got 3; must be a schedule"),
        ({"kind": ["cosine"]}, "kind: got"),
        ({"kind": "decayed", "base": {"kind": "cosine"}, "at": 1, "steps": 1}, "has no total"),
    ],
)
def test_wrong_plain_data_is_answered_with_the_way_out(data, message):
    with pytest.raises(ValueError, match=message):
        Schedule.from_dict(data)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (InverseSqrt, {"offset": -500}, r"offset: got -500; .*at least 1$"),
        (InverseSqrt, {"offset": 0}, "offset: got 0"),
        (InverseSqrt, {"offset": 2.5}, "offset: got 2.5; must be a whole number of steps"),
        (PowerDecay, {"exponent": 1, "offset": 5}, "exponent: got 1; .*at least 0 and less than 1"),
        (PowerDecay, {"exponent": -0.1, "offset": 5}, "exponent: got -0.1"),
        (Constant, {"warmup": -1}, "warmup: got -1; .*at least 0"),
        (Constant, {"warmup": True}, "warmup: got True"),
        (Constant, {"warmup": "5"}, "warmup: got '5'"),
        (Constant, {"warmup": float("inf")}, "warmup: got inf"),
        (Constant, {"warmup": 10**400}, "warmup: got 1000"),
        (Constant, {"warmup_start": 1.1}, "warmup_start: got 1.1; .*at least 0 and at most 1"),
        (Constant, {"warmup_start": float("nan")}, "warmup_start: got nan"),
        (Cosine, {"total": 0}, "total: got 0; .*at least 1"),
        (Cosine, {"total": 10, "floor": -0.1}, "floor: got -0.1"),
        (Cosine, {"total": 10, "warmup": 11}, "warmup: got 11; must be at most 10"),
        (WSD, {"budget": 1000, "decay": 100}, "decay: got 100; must be a fraction"),
        (WSDS, {"budgets": ()}, "budgets: got"),
        (WSDS, {"budgets": (5, 5)}, "budgets: got"),
        (WSDS, {"budgets": 7}, "budgets: got 7; must be a list"),
        (WSDS, {"budgets": (5, -5)}, r"budgets\[1\]: got -5"),
    ],
)
def test_wrong_arguments_name_the_argument_the_value_and_the_range(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_numbers_from_elsewhere_become_plain():
    numbers: dict[str, Any] = {"total": np.int64(100), "warmup": 1e1, "floor": np.float32(0.5)}
    schedule = Cosine(**numbers)
    assert schedule.to_dict() == {
        "kind": "cosine",
        "warmup": 10,
        "warmup_start": 0.0,
        "total": 100,
        "floor": 0.5,
    }
    assert type(schedule.total) is int
    assert type(schedule.floor) is float


@pytest.mark.parametrize(
    ("schedule", "knots"),
    [
        (Constant(), ()),
        (PowerDecay(exponent=0.4, warmup=10), (10,)),
        (Cosine(total=100, warmup=10), (10, 100)),
        (Stairs(at=(20, 50), values=(0.5, 0.1), warmup=5), (5, 20, 50)),
        (PiecewiseLinear(at=(20, 50), values=(0.5, 0.1), warmup=5), (5, 20, 50)),
        (WSD(warmup=10, budget=100, decay=0.2), (10, 80, 100)),
        (WSDS(budgets=(100, 200), decay=0.1), (90, 100, 190, 210)),
        (CyclicCosine(budgets=(100, 300), rewarmup=7), (100, 107, 300)),
        (InverseSqrt(offset=9).decay(at=40, steps=10), (40, 50)),
    ],
)
def test_between_knots_the_values_are_smooth(schedule, knots):
    assert schedule.knots() == knots
    steps = np.arange(1, 400)
    bends = np.abs(np.diff(schedule(steps), 3))
    # A third difference reaches over four updates; one that has no knot within sees a smooth curve.
    away = np.array([not any(s <= knot <= s + 3 for knot in knots) for s in steps[:-3]])
    assert bends[away & (steps[:-3] > 30)].max() < 2e-3


def test_a_subclass_without_a_kind_of_its_own_does_not_take_its_parents_place():
    class Mine(Constant):
        pass

    assert kinds()["constant"] is Constant
    assert type(Schedule.from_dict(Mine(warmup=3).to_dict())) is Constant
