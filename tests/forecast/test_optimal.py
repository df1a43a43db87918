import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riverrun.forecast.ahead import Ahead
from riverrun.forecast.curve import rates_of
from riverrun.forecast.decays import best_decay
from riverrun.forecast.optimal import optimise
from riverrun.forecast.seen import see
from riverrun.schedules import WSD, Constant, Continued, Cosine, InverseSqrt, Linear, PiecewiseLinear

PEAK, TOTAL = 1e-3, 3000
LAWS = ["river", "multi-power", "momentum"]
FLAT = Constant(warmup=100)
TRUNK = InverseSqrt(warmup=100, warmup_start=0.1, offset=900)


def loss_of(fit, rates):
    """Every change of the learning rate taken apart."""
    seen = see(rates, np.array([rates.size]), None)
    return fit.law.losses(fit.values["train"], seen, fit.scale)[0][0]


@pytest.mark.parametrize("law", LAWS)
def test_it_is_no_worse_than_any_schedule_with_a_name(law, made):
    fit = made(law)
    found = optimise(fit, FLAT, PEAK, TOTAL)
    named = [kind(warmup=100, total=TOTAL, floor=floor) for kind in (Cosine, Linear) for floor in (0.0, 0.1)]
    named += [WSD(warmup=100, budget=TOTAL, decay=decay) for decay in (0.05, 0.1, 0.2)]
    optimum = loss_of(fit, rates_of(found.schedule, PEAK, TOTAL))
    assert optimum <= min(loss_of(fit, rates_of(schedule, PEAK, TOTAL)) for schedule in named)
    candidates = best_decay(fit, FLAT, PEAK, TOTAL).candidates
    best = min(candidates, key=lambda one: one.expected).schedule(FLAT)
    assert optimum <= loss_of(fit, rates_of(best, PEAK, TOTAL))
    assert found.loss.expected[0] == pytest.approx(optimum, abs=2e-5)
    assert found.gain.expected >= 0
    assert found.gain.probability > 0.9
    decayed = rates_of(found.decay_schedule, PEAK, TOTAL)
    assert found.gain.expected == pytest.approx(loss_of(fit, decayed) - optimum, abs=1e-4)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("base", "start"), [(FLAT, 100), (FLAT, 1700), (TRUNK, 100), (TRUNK, 1700)])
def test_it_is_the_base_up_to_the_start_and_never_rises_after_it(base, start, law, made):
    found = optimise(made(law), base, PEAK, TOTAL, start=start, points=16).schedule
    before = np.arange(start + 1)
    np.testing.assert_array_equal(found(before), base(before))
    after = found(np.arange(start, TOTAL + 1))
    assert (np.diff(after) <= 0).all()
    assert after.min() >= 0
    plain = isinstance(base, Constant) or start == 100
    assert isinstance(found, PiecewiseLinear if plain else Continued)
    assert len(found.values) <= 17


def test_no_other_gradual_decline_is_better(made):
    """Random mixtures with other declines, and random moves of its own points."""
    fit = made("multi-power")
    schedule = optimise(fit, FLAT, PEAK, TOTAL).schedule
    optimum = loss_of(fit, rates_of(schedule, PEAK, TOTAL))
    random, after = np.random.default_rng(0), np.arange(100, TOTAL + 1)
    values = schedule(after)
    for _ in range(150):
        falls = random.dirichlet(np.full(20, random.choice([0.1, 1, 10])))
        corners = np.sort(random.uniform(100, TOTAL, 20))
        other = 1 - np.interp(after, [100, *corners], [0, *np.cumsum(falls)])
        share = random.choice([0.01, 0.1, 0.5])
        mixed = (1 - share) * values + share * other
        stretched = np.interp(after, 100 + (after - 100) * random.uniform(0.9, 1.1), values)
        for one in (mixed, stretched, values ** random.uniform(0.8, 1.2)):
            rates = PEAK * np.concatenate([schedule(np.arange(1, 101)), np.minimum.accumulate(one)[1:]])
            assert loss_of(fit, rates) >= optimum - 1e-4


def test_with_an_exponential_memory_the_peak_holds_and_drops_at_the_end(made):
    fit = made("momentum")
    schedule = optimise(fit, FLAT, PEAK, TOTAL).schedule
    memory = np.exp(fit.values["train"][4])
    assert schedule(round(TOTAL - 3 * memory)) == 1
    assert schedule(round(TOTAL - memory)) < 0.05


def test_later_starts_are_no_better(made):
    losses = [
        optimise(made(), TRUNK, PEAK, TOTAL, start=start).loss.expected[0] for start in (100, 2000, 2990)
    ]
    assert losses == sorted(losses)


def test_where_there_is_hardly_room_it_still_is_the_best(made):
    for total in (102, 110):
        found = optimise(made(), FLAT, PEAK, total)
        assert found.gain.expected >= -1e-9


def test_the_schedule_of_a_warmup_that_is_missing(made):
    found = optimise(made(), Constant(), PEAK, 500).schedule
    assert found(0) == 1
    assert (np.diff(found(np.arange(501))) <= 0).all()


@given(data=st.data())
@settings(max_examples=40)
@pytest.mark.parametrize("law", LAWS)
def test_lines_ahead_are_seen_as_update_by_update(law, data, made):
    """The closed forms: with lines cut into single updates they are the same; cut coarsely they are near."""
    fit, start = made(law), data.draw(st.integers(0, 60))
    lengths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=6))
    corners = start + np.cumsum(lengths)
    number = len(lengths)
    rates = np.array(data.draw(st.lists(st.floats(1e-5, 1e-3), min_size=number, max_size=number)))
    past = rates_of(InverseSqrt(warmup=10, offset=20), PEAK, start) if start else np.zeros(0)
    level = past[-1] if start else PEAK
    every = np.interp(np.arange(start + 1, corners[-1] + 1), [start, *corners], [level, *rates])
    ahead = Ahead(past, level, corners)
    seen = ahead.seen(np.stack([rates, rates / 2]))
    losses = fit.law.losses(fit.values["train"], seen, fit.scale)[0]
    # From no past there is a level at position 0 that no update has.
    tolerance = 1e-3 if start else 0.3
    assert losses[0] == pytest.approx(loss_of(fit, np.concatenate([past, every])), abs=tolerance)
    assert losses.shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 99}, "start: got 99; must be at least 100, the warm-up's end, and less than 3,000"),
        ({"start": 3000}, "start: got 3,000"),
        ({"points": 3}, "points: got 3; must be at least 4"),
        ({"series": "held-out"}, "series: got 'held-out'"),
        ({"base": Linear(total=50, floor=0.0), "start": 60}, "start: the learning rate is 0 at step 60"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(arguments, message, made):
    with pytest.raises(ValueError, match=message):
        optimise(made(), **{"base": FLAT, "peak_lr": PEAK, "total": TOTAL} | arguments)


def test_a_law_that_does_not_see_the_learning_rate_has_no_optimum(made):
    with pytest.raises(ValueError, match="law: got 'power', which does not see the learning rate"):
        optimise(made("power"), FLAT, PEAK, TOTAL)
