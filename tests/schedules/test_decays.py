from typing import Any

import numpy as np
import pytest

from riverrun.schedules import WSD, WSDS, Constant, Cosine, InverseSqrt, Linear

PUBLISHED: dict[str, Any] = {"budgets": (12_500, 25_000, 50_000), "decay": 0.1}


def test_a_decay_starts_after_its_position_and_ends_on_the_floor():
    schedule = Constant().decay(at=100, steps=50, floor=0.1)
    assert schedule(100) == 1.0
    assert schedule(101) == pytest.approx(1 - 0.9 / 50)
    assert schedule(125) == pytest.approx(0.55)
    assert schedule(150) == 0.1
    assert schedule(151) == schedule(10**6) == 0.1


def test_a_decay_scales_the_lr_its_base_has(schedule):
    at = 33
    decayed = schedule.decay(at=at, steps=10, shape="sqrt", floor=0.25)
    steps = np.arange(at + 1)
    np.testing.assert_array_equal(decayed(steps), schedule(steps))
    assert decayed(at + 10) == schedule(at) * 0.25
    assert decayed(at + 4) == pytest.approx(schedule(at) * (0.25 + 0.75 * (1 - 0.4**0.5)))
    assert not decayed.horizon_free


def test_a_decay_may_start_within_a_warmup():
    schedule = Constant(warmup=100).decay(at=50, steps=10, floor=0.1)
    assert schedule(50) == 0.5
    assert schedule(60) == pytest.approx(0.05)
    assert schedule(100) == pytest.approx(0.05)
    assert schedule.warmup == 100


def test_after_a_decay_the_base_comes_back_where_it_would_be():
    base = InverseSqrt(warmup=5, offset=30)
    schedule = base.decay(at=40, steps=10, after="return")
    assert schedule(50) == pytest.approx(0.1 * base(40))
    assert schedule(51) == base(51)
    assert schedule(500) == base(500)


def test_a_decay_of_no_steps():
    held = Constant().decay(at=10, steps=0, floor=0.1)
    assert held(10) == 1.0
    assert held(11) == 0.1
    returned = Constant().decay(at=10, steps=0, floor=0.1, after="return")
    assert returned(10) == returned(11) == 1.0


def test_a_decay_can_be_decayed():
    once = Constant().decay(at=10, steps=10, floor=0.5)
    twice = once.decay(at=30, steps=10, floor=0.1)
    assert twice(20) == 0.5
    assert twice(40) == pytest.approx(0.05)


def test_a_decay_from_the_start_is_linear_to_its_end():
    steps = np.arange(1, 201)
    decayed = Constant().decay(at=0, steps=200, floor=0.1)
    np.testing.assert_array_equal(decayed(steps), Linear(total=200, floor=0.1)(steps))


def test_published_boundaries():
    schedule = WSDS(warmup=2000, **PUBLISHED)
    assert schedule.boundaries == ((11_250, 12_500), (23_750, 26_250), (48_750, 53_750))


def test_wsds_has_the_stable_steps_of_wsd_at_equal_total_compute():
    boundaries = WSDS(**PUBLISHED).boundaries
    decayed = np.cumsum([0] + [end - start for start, end in boundaries])[:-1]
    stable = [start - spent for (start, _), spent in zip(boundaries, decayed, strict=True)]
    assert stable == [WSD(budget=b, decay=0.1).boundaries[0][0] for b in PUBLISHED["budgets"]]
    assert stable == [11_250, 22_500, 45_000]


@pytest.mark.parametrize(
    ("of", "lengths"), [("cycle", [1250, 1375, 2750]), ("cumulative", [1250, 2625, 5375])]
)
def test_the_fraction_of_other_bases_at_the_same_ends(of, lengths):
    schedule = WSDS(budgets=(12_500, 26_250, 53_750), decay=0.1, of=of)
    assert [end for _, end in schedule.boundaries] == [12_500, 26_250, 53_750]
    assert [end - start for start, end in schedule.boundaries] == lengths


def test_wsds_decays_to_the_floor_and_returns_to_the_peak():
    schedule = WSDS(warmup=2000, shape="inverse", **PUBLISHED)
    for start, end in schedule.boundaries:
        assert schedule(start) == 1.0
        assert schedule(start + 1) < 1.0
        assert schedule((start + end) // 2) == pytest.approx(1 / (0.5 / 0.1 + 0.5))
        assert schedule(end) == 0.1
        assert schedule(end + 1) == 1.0
    assert schedule(1000) == 0.5


@pytest.mark.parametrize("of", ["budget", "cycle", "cumulative"])
def test_appending_a_budget_never_changes_the_past(of):
    short = WSDS(warmup=50, budgets=(1000, 2000), decay=0.1, of=of)
    longer = WSDS(warmup=50, budgets=(1000, 2000, 4000), decay=0.1, of=of)
    steps = np.arange(short.boundaries[-1][1] + 200)
    np.testing.assert_array_equal(short(steps), longer(steps))


def test_wsd_and_wsds_are_one_run_up_to_the_first_checkpoint():
    steps = np.arange(12_501)
    single = WSD(warmup=2000, budget=12_500, decay=0.1, shape="cosine")
    np.testing.assert_array_equal(single(steps), WSDS(warmup=2000, shape="cosine", **PUBLISHED)(steps))


def test_wsd_is_a_constant_with_one_decay():
    steps = np.arange(1500)
    folded = Constant(warmup=20).decay(at=900, steps=100, shape="sqrt", floor=0.0)
    single = WSD(warmup=20, budget=1000, decay=0.1, shape="sqrt", floor=0.0)
    np.testing.assert_array_equal(single(steps), folded(steps))


def test_phases_of_length_zero():
    assert WSD(budget=100, decay=0.0)(100) == 1.0
    assert WSD(budget=100, decay=0.0)(101) == 0.1
    assert WSDS(budgets=(100, 200), decay=0.0)(101) == 1.0
    no_stable = WSD(warmup=50, budget=100, decay=0.5)
    assert no_stable(50) == 1.0
    assert no_stable(51) < 1.0
    assert no_stable(100) == 0.1
    whole_cycles = WSDS(budgets=(100, 200), decay=1.0, of="cycle")
    assert whole_cycles.boundaries == ((0, 100), (100, 200))
    assert whole_cycles(101) == pytest.approx(whole_cycles(1))


def test_phases_that_do_not_fit():
    with pytest.raises(ValueError, match="warmup: got 91; must be at most 90"):
        WSD(warmup=91, budget=100, decay=0.1)
    with pytest.raises(ValueError, match="warmup: got 2000; must be at most 900"):
        WSDS(warmup=2000, budgets=(1000, 3000), decay=0.1)
    with pytest.raises(ValueError, match=r"decay: got 0.6; .* would start at 80, within the one to 100"):
        WSDS(budgets=(100, 200), decay=0.6, of="cumulative")


def test_many_budgets():
    schedule = WSDS(budgets=tuple(range(100, 200_001, 100)), decay=0.1, of="cycle")
    values = schedule(np.arange(1, 200_001))
    np.testing.assert_array_equal(values.reshape(2000, 100), np.broadcast_to(values[:100], (2000, 100)))


def test_the_fraction_and_the_method_share_a_name_on_wsd():
    schedule = WSD(budget=1000, decay=0.2)
    assert schedule.decay == 0.2
    assert type(schedule.to_dict()["decay"]) is float
    assert schedule.decay(at=100, steps=100)(200) == 0.1  # type: ignore[operator]


def test_a_decay_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="at: got -1"):
        Cosine(total=10).decay(at=-1, steps=5)
    with pytest.raises(ValueError, match=r"steps: got 0.1; must be a whole number of steps"):
        Cosine(total=10).decay(at=1, steps=0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"after: got 'hodl'; .*did you mean 'hold'"):
        Cosine(total=10).decay(at=1, steps=5, after="hodl")
