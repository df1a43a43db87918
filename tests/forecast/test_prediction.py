import numpy as np
import pytest

from riverrun.averaging import HalfLife, Tail, Uniform
from riverrun.forecast.draws import drawn
from riverrun.forecast.fitting import fit
from riverrun.forecast.laws import PowerLaw
from riverrun.forecast.prediction import drawn_values, predict, predict_seen
from riverrun.forecast.seen import see
from riverrun.schedules import WSD, Constant

pytestmark = pytest.mark.filterwarnings("error")

TRUNK = Constant(warmup=100)
LR = 1e-3 * TRUNK(np.arange(1, 6001))
STEPS = np.array([500, 2000, 6000])


def test_intervals_lie_around_what_is_expected(made):
    for law in ("river", "multi-power", "momentum", "power"):
        found = predict(made(law), LR, STEPS)
        assert found.steps.tolist() == STEPS.tolist()
        assert (found.low < found.expected).all()
        assert (found.expected < found.high).all()
        assert found.half_width == pytest.approx((found.high - found.low) / 2)
        assert found.expected == pytest.approx(made(law).losses(LR, STEPS))


def test_a_higher_level_and_less_knowledge_mean_wider_intervals(made):
    narrow, plain, wide = (predict(made(), LR, STEPS, level=level).half_width for level in (0.5, 0.9, 0.99))
    assert (narrow < plain).all()
    assert (plain < wide).all()
    assert (plain < predict(made(spread=0.05), LR, STEPS).half_width).all()


def test_where_all_is_known_intervals_hold_the_scatter_of_a_measurement(made):
    fitted = made(spread=0.0)
    found = predict(fitted, LR, STEPS)
    size = fitted.noise["train", False].size
    assert found.half_width / found.expected == pytest.approx(1.645 * size, rel=0.15)


def test_the_same_seed_gives_the_same_intervals(made):
    one, same, other = (predict(made(), LR, STEPS, seed=seed).high for seed in (0, 0, 1))
    assert one.tolist() == same.tolist() != other.tolist()
    assert one == pytest.approx(other, rel=5e-3)


def test_a_position_is_predicted_alike_alone_and_among_others(made):
    among = predict(made(), LR, STEPS)
    alone = predict(made(), LR, STEPS[1:2])
    for name in ("expected", "low", "high"):
        assert getattr(alone, name)[0] == pytest.approx(getattr(among, name)[1], rel=1e-4)


def test_draws_stay_in_the_ranges_of_the_parameters(made):
    fitted = made(spread=3.0)
    drawn = drawn_values(fitted, "train")
    low, high = np.array([(p.low, p.high) for p in fitted.law.parameters]).T
    assert (drawn >= low).all()
    assert (drawn <= high).all()
    found = predict(fitted, LR, STEPS)
    assert np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize("schedule", [WSD(budget=6000, floor=0.0), TRUNK.decay(at=10, steps=0, floor=0.0)])
def test_decays_to_zero_are_predicted(schedule, made):
    for law in ("river", "multi-power", "momentum", "power"):
        for profile in (None, HalfLife(25), Tail(0.2), Uniform()):
            lr = schedule(np.arange(1, 6001))
            found = predict(made(law), 1e-3 * lr, np.array([1, 10, 11, 5400, 5999, 6000]), profile=profile)
            assert np.isfinite([found.expected, found.low, found.high]).all()


def test_an_average_is_lower_than_the_weights_and_less_well_known_before_one_was_seen(made):
    raw = predict(made(spread=0.001), LR, [6000])
    averaged = predict(made(spread=0.001), LR, [6000], profile=HalfLife(25))
    assert averaged.expected[0] < raw.expected[0]
    assert averaged.half_width[0] > 3 * raw.half_width[0]


def test_a_loss_of_a_series_that_was_fitted(simulate):
    steps = np.geomspace(400, 4000, 20).astype(int)
    fitted = fit(
        [
            simulate("train", TRUNK, steps, size=5e-3),
            simulate("held-out", TRUNK, steps, size=5e-4, above=0.2, series="held-out"),
        ],
        PowerLaw(),
    )
    train, held_out = (predict(fitted, LR, [2000], series=series) for series in ("train", "held-out"))
    assert held_out.expected[0] - train.expected[0] == pytest.approx(0.2, abs=0.02)
    assert train.half_width[0] > 1.5 * held_out.half_width[0]
    assert predict(fitted, LR, [2000]).expected == held_out.expected
    with pytest.raises(ValueError, match="series: got 'mine'"):
        predict(fitted, LR, [2000], series="mine")


@pytest.mark.parametrize("steps", [[], [0, 5], [5, 5], [6, 5], [5, 6001], [5.5], [float("nan")], 5])
def test_positions_are_those_of_updates_with_an_lr(steps, made):
    with pytest.raises(ValueError, match="steps: must increase, from 1 to 6,000"):
        predict(made(), LR, steps)


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, float("nan")])
def test_a_level_is_a_probability(level, made):
    with pytest.raises(ValueError, match=r"level: got .*; must be more than 0 and less than 1"):
        predict(made(), LR, STEPS, level=level)


def test_rates_that_are_none_are_refused(made):
    for lr in (np.zeros(10), np.full(10, np.nan), -LR):
        with pytest.raises(ValueError, match="lr: learning rates must be"):
            predict(made(), lr, [5])
    with pytest.raises(ValueError, match=r"lr: the learning rate is 0 up to step 5; .* before step 9$"):
        predict(made(), np.where(np.arange(1, 11) < 9, 0, 1e-3), [5, 10])


def test_whole_steps_may_be_floats(made):
    assert (
        predict(made(), LR, STEPS.astype(float)).expected.tolist()
        == predict(made(), LR, STEPS).expected.tolist()
    )


def test_draws_that_are_kept_cannot_be_written_to(made):
    with pytest.raises(ValueError, match="read-only"):
        drawn(made(), "train", 0, 10)[:] = 0


def test_an_lr_seen_already_gives_the_same(made):
    found = predict_seen(made(), see(LR, STEPS))
    assert found.low.tolist() == predict(made(), LR, STEPS).low.tolist()
