import numpy as np
import pytest

from riverrun.averaging import HalfLife
from riverrun.forecast.backtest import backtest, longest_of
from riverrun.forecast.fitting import fit
from riverrun.forecast.laws import LAWS
from riverrun.forecast.scoring import score_fit
from riverrun.schedules import WSDS, Constant, Cosine

pytestmark = pytest.mark.filterwarnings("error")

TRUNK = Constant(warmup=100)
STEPS = np.arange(100, 4001, 50)
MOMENTUM = LAWS["momentum"]


@pytest.fixture
def cycles(simulate):
    return simulate("wsds", WSDS(warmup=100, budgets=(1000, 2000, 3500)), STEPS, law="momentum", size=1e-3)


def test_the_rest_is_predicted_as_a_fit_to_the_past_predicts_it(cycles):
    (found,) = backtest([cycles], MOMENTUM, (0.5,))
    until = 2000
    assert (found.share, found.until, found.points, found.note) == (0.5, until, 39, "")
    by_hand = score_fit(fit([cycles.between(1, until)], MOMENTUM), [cycles.between(until + 1, 4000)])
    assert found.scores == {("train", False): by_hand}
    assert found.longest == by_hand


def test_seeing_the_lr_pays_where_it_changes(cycles):
    for found in backtest([cycles], MOMENTUM):
        assert found.longest.mean < 0.3 * found.baseline.mean
        assert found.longest.inside > 0.5


def test_nothing_after_the_cut_is_seen(cycles, simulate):
    """What comes later may be anything: the fit, and so the errors of a common prediction, are the same."""
    spoilt = simulate("wsds", WSDS(warmup=100, budgets=(1000, 2000, 3500)), STEPS, law="momentum", size=1e-3)
    until = backtest([cycles], MOMENTUM, (0.5,))[0].until
    later = np.flatnonzero(until < STEPS)
    spoilt.losses[later] *= 1.5
    one, other = (backtest([curve], MOMENTUM, (0.5,))[0] for curve in (cycles, spoilt))
    assert 1 + other.longest.last == pytest.approx((1 + one.longest.last) / 1.5, rel=1e-9)
    assert other.longest.inside == 0


def test_all_curves_are_cut_at_the_same_position_and_averages_are_scored_apart(cycles, simulate):
    short = simulate("cosine", Cosine(warmup=100, total=1500), STEPS[STEPS <= 1500], law="momentum")
    late = simulate("late", TRUNK.decay(at=3000, steps=500), np.arange(3050, 3501, 50), law="momentum")
    average = simulate("average", TRUNK, STEPS[::4], law="momentum", profile=HalfLife(25))
    found = backtest([short, late, average, cycles], MOMENTUM, (0.25, 0.5))
    for one in found:
        past = [curve for curve in (short, late, average, cycles) if curve.steps[0] <= one.until]
        assert late not in past
        assert one.points == sum((curve.steps <= one.until).sum() for curve in past)
        assert set(one.scores) == {("train", False), ("train", True)}
        rest = dict.fromkeys(one.scores, 0)
        for curve in (short, late, average, cycles):
            rest[curve.kind] += (curve.steps > one.until).sum()
        assert {kind: score.points for kind, score in one.scores.items()} == rest
        assert one.longest.points == (cycles.steps > one.until).sum()


def test_shares_with_too_few_points_say_so(cycles):
    few = cycles.between(1, 1500)
    early, late = backtest([few], MOMENTUM, (0.25, 0.75))
    assert not early.scores
    assert early.longest is early.baseline is None
    assert "got 6; at least 8" in early.note
    assert late.scores
    assert not late.note


def test_where_nothing_can_be_fitted_it_is_an_error(cycles):
    with pytest.raises(ValueError, match=r"shares: nothing can be fitted to any part; .* at least 8"):
        backtest([cycles.between(1, 400)], MOMENTUM)


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.2, float("nan")])
def test_a_share_is_a_part(share, cycles):
    with pytest.raises(ValueError, match=r"shares: got .*; must be more than 0 and less than 1"):
        backtest([cycles], MOMENTUM, (share,))


def test_a_series_that_begins_later_is_named(cycles, simulate):
    late = simulate("late", TRUNK, np.arange(3000, 4001, 100), law="momentum", series="held-out")
    (found,) = backtest([cycles, late], MOMENTUM, (0.5,))
    assert set(found.scores) == {("train", False)}
    assert found.note == f"no held-out losses up to step {found.until:,}"


def test_the_longest_curve_is_raw_where_an_average_reaches_as_far(cycles, simulate):
    average = simulate("average", TRUNK, STEPS, profile=HalfLife(25))
    assert longest_of([average, cycles]) is longest_of([cycles, average]) is cycles
    assert longest_of([cycles, simulate("longer", TRUNK, [5000])]).name == "longer"
