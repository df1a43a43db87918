import numpy as np
import pytest

from riverrun.forecast.coverage import DESIGNS, Scatter, coverage, drawn_truth, noise
from riverrun.forecast.laws import LAWS

pytestmark = pytest.mark.filterwarnings("error")

SCATTERS = (
    Scatter(size=1e-3, correlation=0.5),
    Scatter(size=4e-3),
    Scatter(size=4e-3, correlation=0.7),
)


def test_intervals_hold_most_measurements_and_not_all():
    found = [
        coverage(DESIGNS["three schedules"], Scatter(size=4e-3), 2),
        coverage(DESIGNS["a trunk and a short decay"], Scatter(size=1e-3, correlation=0.5), 2),
    ]
    points = sum(one.points for one in found)
    assert points > 200
    assert 0.80 < sum(one.inside * one.points for one in found) / points < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("scatter", SCATTERS, ids=str)
@pytest.mark.parametrize("design", DESIGNS)
def test_intervals_hold_what_they_promise(design, scatter):
    found = coverage(DESIGNS[design], scatter, 30)
    assert found.points > 1500
    assert 0.80 < found.inside < 0.97
    # A single schedule may fare worse: of noise with a long memory a short decay tells little.
    for name, score in found.scores.items():
        assert score.inside > 0.68, name


def test_the_same_seed_gives_the_same_and_each_run_is_scored():
    design = DESIGNS["a trunk and its averages"]
    one, same = (coverage(design, SCATTERS[0], 1, law=LAWS["momentum"], seed=1) for _ in range(2))
    assert one.scores == same.scores
    assert list(one.scores) == [run.name for run in design.predicted]
    assert {"ema-25", "tail-0.3"} < set(one.scores)
    assert one.points == sum(run.steps.size for run in design.predicted)


def test_the_noise_is_of_its_size_and_correlation():
    made = noise(Scatter(size=3e-3, correlation=0.6), 20_000, np.random.default_rng(0))
    assert made.std() == pytest.approx(3e-3, rel=0.05)
    assert np.corrcoef(made[1:], made[:-1])[0, 1] == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_parameters_are_drawn_from_their_priors(law):
    random = np.random.default_rng(0)
    drawn = np.array([drawn_truth(law, random) for _ in range(400)])
    for parameter, values in zip(law.parameters, drawn.T, strict=True):
        assert ((parameter.low <= values) & (values <= parameter.high)).all()
        if parameter.prior is not None:
            assert values.mean() == pytest.approx(parameter.prior.mean, abs=0.2 * parameter.prior.sd)
            assert values.std() == pytest.approx(parameter.prior.sd, rel=0.2)
