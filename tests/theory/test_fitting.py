import numpy as np
import pytest

from riverrun.averaging.profiles import Tail
from riverrun.schedules import Constant, PowerDecay
from riverrun.theory import PowerLaw, Regression, risk
from riverrun.theory.fitting import Curve, fit_exponents


def curves(capacity, source, schedule, noise=2e-4, average=True):
    """A run of linear regression with a floor of 2 nats and noisy losses."""
    random = np.random.default_rng(0)
    problem = Regression(spectrum=PowerLaw(capacity=capacity, source=source, dimension=10**9))
    at = np.unique(np.geomspace(2**8, 2**18, 30).astype(int))
    found = risk(problem, schedule, problem.moderate_lr, at.tolist(), [Tail(0.5)], engine="macro")
    rates = problem.moderate_lr * schedule(np.arange(1, at[-1] + 1))
    summed = np.cumsum(rates)
    names = ("last", "tail-0.5") if average else ("last",)
    return [
        Curve(
            name,
            at.astype(float),
            summed[at - 1],
            rates[at - 1],
            2 + found[name][0] + noise * random.standard_normal(len(at)),
            "text",
            name != "last",
        )
        for name in names
    ]


@pytest.mark.parametrize(("capacity", "source"), [(1.5, 2.5), (1.3, 1.9), (2.0, 1.5)])
def test_exponents_of_a_constant_run_come_back(capacity, source):
    fitted = fit_exponents(curves(capacity, source, Constant()), resamples=20)
    assert fitted.bias_exponent.value == pytest.approx((source - 1) / capacity, rel=0.2)
    assert fitted.capacity.value == pytest.approx(capacity, rel=0.25)
    assert fitted.source.value == pytest.approx(source, rel=0.1)
    assert fitted.floors["text"] == pytest.approx(2, abs=0.005)
    assert fitted.bias_exponent.low <= fitted.bias_exponent.value <= fitted.bias_exponent.high
    assert not fitted.at_edge


def test_without_an_average_the_capacity_is_not_told():
    fitted = fit_exponents(curves(1.5, 1.8, PowerDecay(exponent=0.2), average=False), resamples=5)
    assert fitted.capacity is fitted.source is fitted.gamma is None


def test_what_the_losses_do_not_tell_is_said_to_lie_at_the_edge():
    assert "a" in fit_exponents(curves(2.0, 1.5, PowerDecay(exponent=0.3)), resamples=5).at_edge


def test_more_noise_means_wider_intervals():
    narrow, wide = (
        fit_exponents(curves(1.3, 1.9, Constant(), noise), resamples=40).bias_exponent
        for noise in (1e-4, 1e-3)
    )
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_too_little_is_refused():
    (curve,) = curves(1.5, 2.5, Constant(), average=False)
    few = {name: getattr(curve, name)[:5] for name in ("steps", "summed", "lr", "losses")}
    with pytest.raises(ValueError, match="losses: got 5; at least 8"):
        fit_exponents([Curve("raw", text="text", averaged=False, **few)])
    late = {name: getattr(curve, name)[-9:] for name in ("steps", "summed", "lr", "losses")}
    fit_exponents([Curve("raw", text="text", averaged=False, **late)], resamples=1)
    late = {name: np.repeat(getattr(curve, name)[-1:], 9) for name in ("steps", "summed", "lr", "losses")}
    with pytest.raises(ValueError, match="span a factor of 1"):
        fit_exponents([Curve("raw", text="text", averaged=False, **late)])
    curve.losses[3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        fit_exponents([curve])
