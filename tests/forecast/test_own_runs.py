"""Forecasts of runs of this package, whose curves lie beside this file (`benchmarks/forecast_runs.py --curves`)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from riverrun.averaging import HalfLife
from riverrun.forecast import Curve, MultiPowerLaw, RiverLaw, fit, predict
from riverrun.forecast.exports import read_records
from riverrun.forecast.identifiability import doubts, sees_decays
from riverrun.forecast.prediction import predict_seen
from riverrun.forecast.seen import see_curve
from riverrun.schedules import WSDS, Constant, Cosine, InverseSqrt

CURVES = Path(__file__).parent / "curves"
PEAK, WARMUP = 4e-3, 50
STABLE = Constant(warmup=WARMUP)
SCHEDULES = {
    "trunk": STABLE,
    "short": STABLE.decay(at=1024, steps=256),
    "wsd4096": STABLE.decay(at=3686, steps=410),
    "wsd2048": STABLE.decay(at=1843, steps=205),
    "cosine4096": Cosine(total=4096, warmup=WARMUP),
    "cosine2048": Cosine(total=2048, warmup=WARMUP),
    "wsds": WSDS(budgets=(1024, 2048, 4096), warmup=WARMUP),
    "isqrt": InverseSqrt(offset=256, warmup=WARMUP),
}
PROFILES = {"trunk-ema-25": HalfLife(25), "trunk-ema-100": HalfLife(100)}


def read(name: str) -> Curve:
    (record,) = read_records(CURVES / f"{name}.csv")
    schedule = SCHEDULES[name.partition("-")[0]]
    curve = Curve.of_schedule(name, schedule, record.steps, record.losses, peak_lr=PEAK, series="held-out")
    np.testing.assert_allclose(record.lr, curve.lr[record.steps - 1], rtol=1e-12)
    return replace(curve, profile=PROFILES.get(name))


@pytest.fixture(scope="module")
def curves():
    return {name: read(name) for name in (*SCHEDULES, *PROFILES)}


@pytest.fixture(scope="module")
def fitted(curves):
    """From half of the trunk and one short decay."""
    return fit([curves["trunk"].between(1, 2048), curves["short"]])


def predicted(fitted, curve):
    return predict_seen(fitted, see_curve(curve), profile=curve.profile, series=curve.series)


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("wsd4096", 0.015),
        ("wsd2048", 0.01),
        ("wsds", 0.015),
        ("cosine4096", 0.03),
        ("cosine2048", 0.03),
        ("isqrt", 0.03),
    ],
)
def test_other_schedules_end_where_a_trunk_and_a_short_decay_say(fitted, curves, name, off):
    curve = curves[name]
    ahead = predicted(fitted, curve)
    assert ahead.expected[-1] == pytest.approx(curve.losses[-1], rel=off)
    inside = (ahead.low <= curve.losses) & (curve.losses <= ahead.high)
    assert inside[-1]
    assert inside.mean() > 0.7


def test_the_river_law_is_nearer_than_the_multi_power_law_on_what_it_has_not_seen(fitted, curves):
    other = fit([curves["trunk"].between(1, 2048), curves["short"]], MultiPowerLaw())

    def error(one):
        unseen = [curves[name] for name in ("wsd4096", "wsds", "isqrt", "cosine2048")]
        return np.mean([np.abs(predicted(one, curve).expected / curve.losses - 1).mean() for curve in unseen])

    assert error(fitted) < error(other)


def test_averages_are_the_decays_that_they_amount_to_within_the_factor_that_is_allowed_for(fitted, curves):
    for name in PROFILES:
        curve = curves[name]
        ahead = predicted(fitted, curve)
        assert np.abs(ahead.expected / curve.losses - 1).mean() < 0.015
        assert ((ahead.low <= curve.losses) & (curve.losses <= ahead.high)).mean() > 0.8


def test_averages_tell_what_a_decay_gives_and_a_trunk_alone_does_not(curves):
    trunk = curves["trunk"]
    alone = fit([trunk], RiverLaw())
    averaged = fit([trunk, *(curves[name] for name in PROFILES)], RiverLaw())
    assert not sees_decays(alone)
    assert any("short decay" in doubt for doubt in doubts(alone))
    assert sees_decays(averaged)
    wsd = curves["wsd4096"]
    end = wsd.steps[-1:]
    without, knowing = (predict(one, wsd.lr, end) for one in (alone, averaged))
    assert knowing.half_width[0] < 0.7 * without.half_width[0]
    assert knowing.expected[0] == pytest.approx(wsd.losses[-1], rel=0.015)


def test_a_measured_average_is_forecast_with_a_factor_of_its_own(curves):
    averaged = fit([curves["trunk"].between(1, 2048), *(curves[name].between(1, 2048) for name in PROFILES)])
    assert set(averaged.offsets) == {"ema-25", "ema-100"}
    for name in PROFILES:
        curve = curves[name]
        ahead = predicted(averaged, curve)
        assert ahead.expected[-1] == pytest.approx(curve.losses[-1], rel=0.025)
