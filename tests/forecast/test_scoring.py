import numpy as np
import pytest

from riverrun.forecast.scoring import MOST_INTERVALS, mean_score, score, score_fit
from riverrun.schedules import Constant

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def curve(simulate):
    made = simulate("mine", Constant(), [100, 200, 400])
    made.losses[:] = 4.0, 2.0, 1.0
    return made


def test_figures_are_those_of_their_definitions(curve):
    found = score([curve], [np.array([4.4, 2.0, 0.9])], 0.5)
    assert found.points == 3
    assert found.mae == pytest.approx(0.5 / 3)
    assert found.rmse == pytest.approx((0.17 / 3) ** 0.5)
    assert found.r2 == pytest.approx(1 - 0.17 / np.sum((curve.losses - 7 / 3) ** 2))
    assert found.mean == pytest.approx(0.2 / 3)
    assert found.worst == pytest.approx(0.1)
    assert found.last == pytest.approx(-0.1)
    assert found.inside == 0.5


def test_of_several_curves_all_points_count_and_the_last_position_is_last(curve):
    early = curve.between(1, 200)
    found = score([curve, early], [curve.losses * 1.01, early.losses], 1.0)
    assert found.points == 5
    assert found.last == pytest.approx(0.01)


def test_where_losses_do_not_vary_there_is_no_r2(curve):
    one = curve.between(400, 400)
    assert np.isnan(score([one], [one.losses], 1.0).r2)


def test_a_mean_over_curves_counts_each_the_same(curve):
    good, bad = (score([curve], [curve.losses * by], by - 1) for by in (1.0, 1.2))
    found = mean_score([good, bad])
    assert found.points == 6
    assert found.mean == pytest.approx(0.1)
    assert found.worst == found.inside == pytest.approx(0.1)


def test_a_fit_is_scored_by_what_it_predicts(made, simulate):
    curve = simulate("mine", Constant(warmup=10), [100, 900])
    found = score_fit(made(), [curve])
    assert found.mean < 1e-9
    assert found.inside == 1


def test_measurements_are_held_against_their_intervals(made, simulate):
    steps = np.arange(100, 100 + 10 * MOST_INTERVALS)
    curve = simulate("mine", Constant(warmup=10), steps)
    assert score_fit(made(spread=0.0), [curve]).inside == 1
    curve.losses[steps.size // 2 :] *= 1.02  # noise is a tenth of it
    assert score_fit(made(spread=0.0), [curve]).inside == pytest.approx(0.5, abs=0.02)
