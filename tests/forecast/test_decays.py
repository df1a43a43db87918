import numpy as np
import pytest

from riverrun.forecast.curve import rates_of
from riverrun.forecast.decays import FLAT, best_decay, decays_now
from riverrun.forecast.gains import gain
from riverrun.schedules import Constant, InverseSqrt

PEAK = 1e-3
CONSTANT = Constant(warmup=50)
TRUNK = InverseSqrt(warmup=50, offset=400)


@pytest.mark.parametrize("law", ["river", "multi-power", "momentum"])
def test_a_decay_of_no_length_is_the_run_itself_and_longer_ones_end_lower(law, made):
    fit = made(law)
    now, *later = decays_now(fit, TRUNK, PEAK, 2000, [0, 50, 200, 800])
    raw = fit.losses(rates_of(TRUNK, PEAK, 2000), np.array([2000]))
    np.testing.assert_array_equal(now.loss.expected, raw)
    assert [one.end for one in later] == [2050, 2200, 2800]
    losses = [float(one.loss.expected[0]) for one in (now, *later)]
    assert losses == sorted(losses, reverse=True)
    assert all(one.loss.low < one.loss.expected < one.loss.high for one in (now, *later))


def test_a_floor_of_one_is_no_decay(made):
    held, *_ = decays_now(made(), CONSTANT, PEAK, 1000, [300], floor=1.0)
    np.testing.assert_allclose(
        held.loss.expected, made().losses(rates_of(CONSTANT, PEAK, 1300), np.array([1300]))
    )


@pytest.mark.parametrize("law", ["river", "momentum"])
def test_the_best_decay_is_no_worse_than_any_other(law, made):
    fit, total = made(law), 3000
    found = best_decay(fit, CONSTANT, PEAK, total)
    best = found.best
    assert best.start + best.length == total
    assert best.expected <= min(candidate.expected for candidate in found.candidates)
    # Beside the grid too.
    for length in np.rint(best.length * np.array([0.5, 0.9, 0.97, 1.03, 1.1, 2])).astype(int):
        start = int(total - length)
        other = CONSTANT.decay(at=start, steps=int(length), shape=best.shape, floor=best.floor)
        loss = fit.losses(rates_of(other, PEAK, total), np.array([total]))[0]
        assert loss >= best.expected - 1e-6
        if found.flat[0] <= start <= found.flat[1]:
            assert loss <= best.expected + FLAT
    exact = rates_of(best.schedule(CONSTANT), PEAK, total)
    assert fit.losses(exact, np.array([total]))[0] == pytest.approx(best.expected, abs=1e-12)
    assert found.loss.expected[0] == pytest.approx(best.expected, abs=1e-12)


def test_just_outside_the_flat_stretch_the_loss_is_no_longer_as_good(made):
    fit, total = made(), 3000
    found = best_decay(fit, CONSTANT, PEAK, total)
    best = found.best

    def loss(start):
        decay = CONSTANT.decay(at=start, steps=total - start, shape=best.shape, floor=best.floor)
        return fit.losses(rates_of(decay, PEAK, total), np.array([total]))[0] - best.expected

    first, last = found.flat
    assert first < best.start < last
    assert max(loss(first), loss(last)) <= FLAT
    widen = round(0.03 * (total - first))
    assert min(loss(first - widen), loss(last + widen)) > FLAT


def test_every_shape_has_its_best_and_those_that_need_a_floor_have_one(made):
    found = best_decay(made(), CONSTANT, PEAK, 3000)
    per_shape = {candidate.shape: candidate for candidate in found.per_shape}
    assert set(per_shape) == {"linear", "cosine", "sqrt", "exponential", "inverse"}
    assert per_shape["exponential"].floor == per_shape["inverse"].floor == 0.1
    assert next(iter(per_shape.values())) == found.best


def test_a_decay_starts_no_earlier_than_it_may(made):
    found = best_decay(made(), TRUNK, PEAK, 3000, earliest=2900)
    assert min(candidate.start for candidate in found.candidates) == 2900
    assert found.usual.start >= 2900
    assert found.best.start <= found.flat[1] < 3000


def test_what_all_decays_gain_together_is_no_doubt_of_their_difference(made):
    """Draws in pairs: losses may be uncertain by a tenth, and their order all but certain."""
    found = best_decay(made(spread=0.05), CONSTANT, PEAK, 3000)
    assert found.loss.half_width[0] > 0.05
    assert found.gain.high - found.gain.low < 0.02
    assert found.gain.expected == pytest.approx(found.usual.expected - found.best.expected)
    assert found.gain.probability > 0.95


def test_a_gain_turns_its_sign_with_its_sides_and_over_itself_is_none(made):
    fit = made()
    one, other = (rates_of(CONSTANT.decay(at=at, steps=2000 - at), PEAK, 2000) for at in (1500, 1900))
    there, back = gain(fit, one, other), gain(fit, other, one)
    assert there.expected == -back.expected
    assert (there.low, there.probability) == pytest.approx((-back.high, 1 - back.probability))
    assert (gain(fit, one, one).expected, gain(fit, one, one).probability) == (0, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: decays_now(fit, TRUNK, PEAK, 0, [5]), "at: got 0; must be a position of the run"),
        (lambda fit: best_decay(fit, TRUNK, PEAK, 50), "total: got 50; must be more than 50"),
        (lambda fit: best_decay(fit, TRUNK, PEAK, 900, earliest=900), "total: got 900"),
        (lambda fit: best_decay(fit, TRUNK, PEAK, 900, fractions=[0.5, 0]), r"fractions: got \[0.5, 0\]"),
        (lambda fit: best_decay(fit, TRUNK, PEAK, 900, shapes=["inverse"], floors=[0]), r"floors: got \[0\]; inverse"),
        (lambda fit: best_decay(fit, TRUNK, PEAK, 900, shapes=[]), "shapes: got none"),
        (lambda fit: best_decay(fit, TRUNK, PEAK, 900, series="held"), "series: got 'held'; there is train"),
        (lambda fit: gain(fit, np.ones(5), np.ones(5), level=1), "level: got 1; must be"),
    ],
)  # fmt: skip
def test_wrong_arguments_say_what_is_allowed(call, message, made):
    with pytest.raises(ValueError, match=message):
        call(made())


@pytest.mark.parametrize(
    "call",
    [
        lambda fit: decays_now(fit, TRUNK, PEAK, 100, [5]),
        lambda fit: best_decay(fit, TRUNK, PEAK, 900),
        lambda fit: gain(fit, np.ones(5), np.ones(5)),
    ],
)
def test_a_law_that_does_not_see_the_learning_rate_compares_no_schedules(call, made):
    with pytest.raises(ValueError, match="law: got 'power', which does not see the learning rate"):
        call(made("power"))
