"""What schedules give at budgets."""

import numpy as np
import pytest

from riverrun.averaging import HalfLife
from riverrun.forecast import Curve, DecayChoice, fit, outlook, predict, rates_of
from riverrun.schedules import WSD, Constant, Cosine

BUDGETS = (1000, 2000, 4000)


@pytest.fixture(scope="module")
def fitted():
    random = np.random.default_rng(0)
    steps = np.unique(np.geomspace(100, 2000, 60).astype(int))

    def losses(decayed):
        return (2 + 3 * steps**-0.4 - 0.1 * decayed) * np.exp(0.002 * random.standard_normal(steps.size))

    stable = Constant(warmup=20)
    decay = stable.decay(at=1000, steps=0, floor=0.1)
    return fit(
        [
            Curve.of_schedule("trunk", stable, steps, losses(0.0)),
            Curve.of_schedule("decayed", decay, steps, losses(steps > 1000)),
        ]
    )


def test_one_run_gives_all_budgets_and_a_horizon_one_run_each(fitted):
    stable = Constant(warmup=20)
    one = outlook(fitted, "stable", lambda end: stable, 1.0, BUDGETS, one_run=True)
    np.testing.assert_allclose(
        one.readouts["raw"].expected, predict(fitted, rates_of(stable, 1.0, 4000), BUDGETS).expected
    )
    each = outlook(fitted, "cosine", lambda end: Cosine(total=end, warmup=20), 1.0, BUDGETS, one_run=False)
    for n, end in enumerate(BUDGETS):
        alone = predict(fitted, rates_of(Cosine(total=end, warmup=20), 1.0, end), [end])
        assert each.readouts["raw"].expected[n] == pytest.approx(alone.expected[0])
        assert each.readouts["raw"].low[n] == pytest.approx(alone.low[0])


def test_a_decay_of_a_tenth_is_wsd(fitted):
    stable = Constant(warmup=20)
    choice = DecayChoice(shape="linear", share=0.1, floor=0.1)
    decayed = outlook(fitted, "stable", lambda end: stable, 1.0, BUDGETS, one_run=True, decay=choice)
    wsd = outlook(fitted, "wsd", lambda end: WSD(budget=end, warmup=20), 1.0, BUDGETS, one_run=False)
    assert list(decayed.readouts) == ["raw", "linear decay 10%"]
    np.testing.assert_allclose(
        decayed.readouts["linear decay 10%"].expected, wsd.readouts["raw"].expected, rtol=1e-9
    )


def test_averages_come_by_name(fitted):
    each = outlook(
        fitted,
        "cosine",
        lambda end: Cosine(total=end, warmup=20),
        1.0,
        BUDGETS,
        one_run=False,
        profiles=[HalfLife(25)],
    )
    assert list(each.readouts) == ["raw", "ema-25"]


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_decay_takes_a_part_of_its_budget(share):
    with pytest.raises(ValueError, match=r"share: got .*; must be more than 0 and less than 1"):
        DecayChoice(share=share)
