import numpy as np
import pytest

from riverrun.averaging import HalfLife, Tail, Uniform
from riverrun.forecast.coverage import drawn_truth
from riverrun.forecast.curve import Curve
from riverrun.forecast.laws import LAWS, Scale
from riverrun.forecast.published import CONSTANTS
from riverrun.forecast.seen import see, see_average, see_curve
from riverrun.schedules import (
    SHAPES,
    WSD,
    WSDS,
    Constant,
    Cosine,
    CyclicCosine,
    InverseSqrt,
    Linear,
    PiecewiseLinear,
    PowerDecay,
    Stairs,
)

pytestmark = pytest.mark.filterwarnings("error")

LAST = 4200
TRUNK = Constant(warmup=100)
SCHEDULES = {
    "constant": TRUNK,
    "inverse-sqrt": InverseSqrt(warmup=100, offset=300),
    "inverse-sqrt-from-one": InverseSqrt(offset=1),
    "power-decay": PowerDecay(warmup=100, exponent=0.6),
    "cosine": Cosine(warmup=100, total=4000),
    "cosine-to-zero": Cosine(warmup=100, total=4000, floor=0.0),
    "linear-to-zero": Linear(warmup=100, total=4000, floor=0.0),
    "linear-without-warmup": Linear(total=4000),
    "cyclic-cosine": CyclicCosine(warmup=100, budgets=(1000, 2000, 4000), rewarmup=50, floor=0.0),
    "wsd-to-zero": WSD(warmup=100, budget=4000, decay=0.2, floor=0.0),
    "wsds": WSDS(warmup=100, budgets=(1000, 2000, 3500), shape="inverse"),
    "stairs": Stairs(warmup=100, at=(1000, 2000, 3000), values=(0.5, 0.8, 0.02)),
    "piecewise-linear": PiecewiseLinear(warmup=100, at=(1000, 2000, 3000), values=(0.5, 0.8, 0.0)),
    "drop-to-zero": TRUNK.decay(at=3000, steps=0, floor=0.0),
    "return": TRUNK.decay(at=3000, steps=500, floor=0.0, after="return"),
    "cosine-cut-short": Cosine(warmup=100, total=4000).decay(at=2000, steps=1000, floor=0.0),
    **{
        f"decay-{shape}": TRUNK.decay(
            at=3000, steps=1000, shape=shape, floor=1e-3 if shape in ("exponential", "inverse") else 0.0
        )
        for shape in (*SHAPES, "power:0.5", "power:3")
    },
}
POSITIONS = {
    "many": np.unique(np.geomspace(20, LAST, 100).astype(int)),
    "few": np.array([50, 1000, 3200, 4000, LAST]),
    "one": np.array([4000]),
}


def rates(schedule, updates=LAST):
    return 1e-3 * schedule(np.arange(1, updates + 1))


def scale_of(lr):
    return Scale(lr=lr.max(), summed=lr.sum(), step=float(lr.size), loss=3.0)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_changes_taken_together_count_as_they_do_apart(name, law):
    lr = rates(SCHEDULES[name])
    scale = scale_of(lr)
    random = np.random.default_rng(0)
    drawn = [drawn_truth(law, random) for _ in range(4)]
    errors = []
    for steps in POSITIONS.values():
        together, apart = see(lr, steps), see(lr, steps, None)
        for values in drawn:
            exact, slopes = law.losses(values, apart, scale)
            grouped, grouped_slopes = law.losses(values, together, scale)
            assert np.isfinite(grouped).all()
            assert np.isfinite(grouped_slopes).all()
            np.testing.assert_allclose(grouped_slopes, slopes, rtol=0.02, atol=2e-3)
            errors.append(np.abs(grouped / exact - 1).max())
    # The largest are those of kernels that saturate, or turn, within a group, and of high B.
    assert np.median(errors) < 2e-5
    assert max(errors) < 1.5e-4


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_is_exact_is_exact_with_groups(name):
    lr = rates(SCHEDULES[name])
    steps = POSITIONS["many"]
    for seen in (see(lr, steps), see(lr, steps, None)):
        np.testing.assert_allclose(seen.summed, np.cumsum(lr)[steps - 1], rtol=1e-12)
        np.testing.assert_allclose(seen.total(seen.after - seen.before), lr[steps - 1], atol=1e-15)
        np.testing.assert_allclose(seen.until(seen.stretch_length), steps, rtol=1e-12)
        np.testing.assert_allclose(seen.until(seen.stretch_length * seen.stretch_lr), seen.summed, rtol=1e-9)
        assert (seen.gap > 0.999).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_position_is_seen_alone_as_among_others_and_whatever_comes_after_it(name):
    lr = rates(SCHEDULES[name])
    law, scale = LAWS["river"], scale_of(lr)
    values = np.array([p.prior.mean if p.prior else 0.0 for p in law.parameters])
    values[:4] = 2, -0.7, -0.75, -2
    among = law.losses(values, see(lr, POSITIONS["few"], None), scale)[0]
    alone = [
        law.losses(values, see(lr[:step], np.array([step]), None), scale)[0][0] for step in POSITIONS["few"]
    ]
    np.testing.assert_allclose(among, alone, rtol=1e-12)


def published_multi_power(lr, t, L0, A, alpha, B, C, beta, gamma):
    eta = [0.0, *lr]
    S = sum(eta[1 : t + 1])
    drop = 0.0
    for k in range(1, t + 1):
        S_k = sum(eta[k : t + 1])
        drop += (eta[k - 1] - eta[k]) * (1 - (C * eta[k] ** -gamma * S_k + 1) ** -beta)
    return L0 + A * S**-alpha - B * drop


def published_momentum(lr, t, L0, A, alpha, C, lam):
    eta = [0.0, *lr]
    S1 = sum(eta[1 : t + 1])
    S2 = sum((eta[k - 1] - eta[k]) * lam ** (i - k) for i in range(1, t + 1) for k in range(1, i + 1))
    return L0 + A * S1**-alpha - C * S2


SHORT = {
    "cosine": Cosine(warmup=12, total=150),
    "wsds": WSDS(warmup=12, budgets=(50, 100, 140)),
    "stairs": Stairs(at=(40, 90), values=(0.4, 0.7)),
}


@pytest.mark.parametrize("name", SHORT)
def test_every_change_apart_gives_the_published_formulas(name):
    lr, steps = rates(SHORT[name], 150), np.array([1, 7, 41, 96, 150])
    scale = scale_of(lr)
    seen = see(lr, steps, None)
    law = LAWS["multi-power"]
    constants = CONSTANTS["25M"]
    expected = [published_multi_power(lr, t, **constants) for t in steps]
    found = law.losses(law.parameters_of(constants, scale), seen, scale)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    momentum = LAWS["momentum"]
    values = np.array([3.0, -0.5, -0.7, -2.0, 3.0])
    natural = momentum.natural(values, scale)
    expected = [
        published_momentum(
            lr, t, natural["L0"], natural["A"], natural["alpha"], natural["C"], natural["lambda"]
        )
        for t in steps
    ]
    np.testing.assert_allclose(momentum.losses(values, seen, scale)[0], expected, rtol=1e-10)


def test_the_cost_is_that_of_changes_not_of_updates():
    def cost(updates, positions=50):
        lr = rates(TRUNK.decay(at=updates // 2, steps=0), updates)
        seen = see(lr, np.linspace(updates / 50, updates, positions).astype(int))
        return seen.position.size, seen.stretch_lr.size

    assert cost(10_000) == cost(1_000_000)


def test_the_cost_of_a_long_decay_is_bounded():
    short, long = (
        see(rates(Cosine(total=updates), updates), np.array([updates])) for updates in (10_000, 1_000_000)
    )
    assert long.position.size <= short.position.size * 1.1 < 300


@pytest.mark.parametrize("profile", [HalfLife(25), Tail(0.3), Uniform()], ids=lambda profile: profile.name)
def test_an_average_is_the_run_with_the_lr_that_it_amounts_to(profile):
    lr = rates(SCHEDULES["wsds"])
    steps, scale = np.array([30, 900, 2100, 3600]), scale_of(lr)
    for resolution in (192, None):
        seen = see_average(lr, steps, profile, resolution)
        for law in LAWS.values():
            values = drawn_truth(law, np.random.default_rng(1))
            found, slopes = law.losses(values, seen, scale)
            for place, step in enumerate(steps):
                multiplied = lr[:step] * (1 - profile.cumulative(np.arange(step), int(step)))
                alone = law.losses(values, see(multiplied, np.array([step]), resolution), scale)
                assert found[place] == pytest.approx(alone[0][0], rel=1e-12)
                np.testing.assert_allclose(slopes[place], alone[1][0], rtol=1e-9, atol=1e-12)


def test_a_curve_is_seen_as_what_was_measured():
    lr, steps = rates(TRUNK), np.array([1000, 2000])
    raw = see_curve(Curve("raw", steps, np.ones(2), lr))
    averaged = see_curve(Curve("averaged", steps, np.ones(2), lr, profile=Tail(0.5)))
    assert raw.summed.tolist() == see(lr, steps).summed.tolist()
    assert averaged.summed == pytest.approx(0.75 * raw.summed, rel=0.05)
