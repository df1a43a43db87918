import numpy as np
import pytest

from riverrun.averaging import HalfLife, Tail
from riverrun.forecast.fitting import LEAST_POINTS, fit, fit_jointly
from riverrun.forecast.laws import LAWS, PowerLaw
from riverrun.forecast.noise import MISFIT
from riverrun.forecast.prediction import predict
from riverrun.schedules import WSD, WSDS, Constant, Cosine, InverseSqrt

pytestmark = pytest.mark.filterwarnings("error")

TRUNK = Constant(warmup=100)
STEPS = np.unique(np.geomspace(400, 4000, 40).astype(int))
AT = np.unique(np.geomspace(500, 5000, 20).astype(int))
UNSEEN = {
    "constant": TRUNK,
    "wsd-to-zero": WSD(warmup=100, budget=5000, floor=0.0),
    "wsds": WSDS(warmup=100, budgets=(1000, 2000, 5000)),
    "inverse-sqrt": InverseSqrt(warmup=100, offset=500),
}
NOISE = 2e-3


@pytest.fixture
def three(simulate):
    """A function to curves of three schedules, as a law makes them."""

    def make(**options):
        return [
            simulate("trunk", TRUNK, STEPS, **options),
            simulate("cosine", Cosine(warmup=100, total=4000, floor=0.0), STEPS, **options),
            simulate("drop", TRUNK.decay(at=2000, steps=0, floor=0.3), STEPS, **options),
        ]

    return make


def predictions(fitted, peak_lr=1e-3, series=None):
    rates = [peak_lr * schedule(np.arange(1, AT[-1] + 1)) for schedule in UNSEEN.values()]
    return np.concatenate([fitted.losses(lr, AT, series) for lr in rates])


@pytest.mark.parametrize("law", LAWS)
def test_curves_without_noise_tell_the_law_and_so_other_schedules(law, three, simulate):
    curves = three(law=law)
    fitted = fit(curves, LAWS[law])
    assert not fitted.at_edge
    assert fitted.points == 120
    for curve in curves:
        np.testing.assert_allclose(fitted.losses(curve.lr, curve.steps), curve.losses, rtol=2e-4)
    # What three curves leave open, priors fill in.
    for name, schedule in UNSEEN.items():
        truth = simulate(name, schedule, AT, law=law)
        np.testing.assert_allclose(fitted.losses(truth.lr, AT), truth.losses, rtol=1.5 * MISFIT, err_msg=name)
    if law != "river":  # its own exponents are told apart by their priors alone
        natural = fitted.law.natural(fitted.values["train"], fitted.scale)
        assert natural["L0"] == pytest.approx(2.5, abs=0.01)
        assert natural["alpha"] == pytest.approx(0.45, rel=0.02)


@pytest.mark.parametrize("law", ["river", "momentum"])
def test_the_unit_of_the_lr_does_not_matter(law, three):
    one, other = (fit(three(size=NOISE, peak_lr=peak), LAWS[law]) for peak in (1e-3, 7.0))
    np.testing.assert_allclose(predictions(other, 7.0), predictions(one), rtol=1e-6)


def test_the_order_of_the_curves_does_not_matter(three):
    curves = three(size=NOISE)
    one, other = fit(curves), fit(curves[::-1])
    np.testing.assert_allclose(predictions(other), predictions(one), rtol=1e-6)
    assert other.known == pytest.approx(one.known, abs=1e-4)


def test_series_have_a_lowest_loss_of_their_own_and_all_else_in_common(three, simulate):
    held_out = [
        simulate("held-out", Cosine(warmup=100, total=4000), STEPS[::2], above=0.1, series="held-out")
    ]
    fitted = fit([*three(), *held_out])
    train, other = fitted.values["train"], fitted.values["held-out"]
    assert other[0] - train[0] == pytest.approx(0.1, abs=1e-3)
    assert train[1:].tolist() == other[1:].tolist()
    np.testing.assert_allclose(
        predictions(fitted, series="held-out") - predictions(fitted, series="train"), 0.1, atol=1e-3
    )
    assert fitted.series() == "held-out"
    with pytest.raises(ValueError, match="series: got 'test'; there is train, held-out"):
        fitted.series("test")


def test_a_few_bad_points_move_predictions_by_less_than_the_noise(three):
    clean = three(size=NOISE)
    spoilt = three(size=NOISE)
    for curve in spoilt:
        curve.losses[5::33] *= 1.05
    difference = predictions(fit(spoilt)) / predictions(fit(clean)) - 1
    assert np.abs(difference).max() < NOISE


def test_fitted_together_models_share_what_they_are_to_share(three):
    models = {"small": three(size=NOISE, above=0.3), "large": three(size=NOISE, law="multi-power")}
    fits = fit_jointly(models, shared=("log alpha", "gamma"))
    shared = [LAWS["river"].names.index(name) for name in ("log alpha", "gamma")]
    one, other = (fits[name].values["train"] for name in models)
    equal = np.flatnonzero(one == other)
    assert equal.tolist() == shared
    assert fits["small"].known["gamma"] == fits["large"].known["gamma"]


def test_fitted_together_with_nothing_in_common_is_fitted_apart(three):
    models = {"small": three(size=NOISE, above=0.3), "large": three(size=NOISE)[:2]}
    together = fit_jointly(models, shared=())
    for name, curves in models.items():
        np.testing.assert_allclose(predictions(together[name]), predictions(fit(curves)), rtol=1e-5)


def test_constant_rates_tell_nothing_of_decays(three, simulate):
    trunk = simulate("trunk", TRUNK, STEPS, size=NOISE)
    short = simulate("short", TRUNK.decay(at=2000, steps=400), np.arange(2025, 2401, 25), size=NOISE)
    blind, seeing = fit([trunk]), fit([trunk, short])
    of_decays = ("log B", "log c", "log beta", "gamma", "p")
    assert max(blind.known[name] for name in of_decays) < 0.1
    assert seeing.known["log B"] > 0.3
    lr = 1e-3 * UNSEEN["wsd-to-zero"](np.arange(1, 5001))
    wide, narrow = (predict(one, lr, [5000]).half_width[0] for one in (blind, seeing))
    assert wide > 1.5 * narrow


def test_known_is_near_one_where_the_data_tell(three):
    known = fit(three(), LAWS["momentum"]).known
    assert known["L0"] == known["log A"] == 1  # no priors
    assert known["log tau"] > 0.9


def test_averages_are_fitted_with_the_raw_losses(simulate):
    profiles = (None, HalfLife(25), Tail(0.3))
    curves = [simulate(f"trunk {p and p.name}", TRUNK, STEPS[::2], profile=p, size=1e-3) for p in profiles]
    fitted = fit(curves)
    assert set(fitted.noise) == {("train", False), ("train", True)}
    assert fitted.known["log B"] > 0.3  # a constant LR would tell nothing of it
    lr = 1e-3 * TRUNK(np.arange(1, 8001))
    for profile in profiles:
        predicted = predict(fitted, lr, [8000], profile=profile)
        truth = simulate("later", TRUNK, [8000], profile=profile)
        assert predicted.low[0] < truth.losses[0] < predicted.high[0]
        assert predicted.expected == pytest.approx(truth.losses, rel=5e-3)


@pytest.mark.parametrize("law", LAWS)
def test_eight_points_are_enough_and_seven_are_not(law, simulate):
    curve = simulate("trunk", TRUNK, np.geomspace(400, 4000, 8).astype(int), size=NOISE)
    fitted = fit([curve], LAWS[law])
    assert np.isfinite(fitted.values["train"]).all()
    assert np.isfinite(fitted.covariance["train"]).all()
    with pytest.raises(ValueError, match=rf"losses: got 7; at least {LEAST_POINTS} .* {law} law"):
        fit([curve.between(1, 3999)], LAWS[law])


def test_a_curve_that_hardly_grows_is_refused(simulate):
    with pytest.raises(ValueError, match=r"between steps 1,000 and 1,990; .* twofold"):
        fit([simulate("late", TRUNK, np.arange(1000, 2000, 10))])
    with pytest.raises(ValueError, match="losses: got 0"):
        fit([])


@pytest.mark.parametrize("name", ["L0", "tau"])
def test_only_a_parameter_of_the_law_can_be_shared(name, three):
    with pytest.raises(ValueError, match=f"shared: got '{name}'; the power law has log A, log alpha"):
        fit_jointly({"one": three()}, PowerLaw(), shared=(name,))


def test_curves_of_another_kind_are_fitted_without_warnings(simulate):
    """Losses that rise, that do not change, of a model that learns nothing: no law fits, and none may fail."""
    for losses in (np.full(12, 3.0), np.linspace(3, 4, 12), np.geomspace(10, 0.01, 12)):
        curve = simulate("trunk", TRUNK, np.geomspace(400, 4000, 12).astype(int))
        curve.losses[:] = losses
        for law in (LAWS["river"], LAWS["power"]):
            fitted = fit([curve], law)
            assert np.isfinite(predictions(fitted)).all()
            assert np.isfinite(fitted.covariance["train"]).all()
