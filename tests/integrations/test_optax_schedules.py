"""Schedules as optax takes them equal those of the trainer, in float32 and under every transformation of JAX."""

import importlib
from itertools import pairwise

import numpy as np
import pytest

from riverrun.errors import SettingError
from riverrun.schedules import (
    WSD,
    WSDS,
    Constant,
    Continued,
    Cosine,
    CyclicCosine,
    InverseSqrt,
    Linear,
    PiecewiseLinear,
    PowerDecay,
    Schedule,
    Stairs,
    kinds,
)

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy
integration = importlib.import_module("riverrun.integrations.optax")
optax_schedule = integration.optax_schedule

LAST = 2 * 10**9
PEAK = 3e-3
WARM = {"warmup": 10**7 + 1, "warmup_start": 0.05}
LONG = [
    Constant(warmup=2**24 + 3),
    InverseSqrt(offset=1, **WARM),
    InverseSqrt(offset=10**13),
    PowerDecay(exponent=0.99, offset=1, **WARM),
    PowerDecay(exponent=0.4, offset=10**6 + 1),
    PowerDecay(exponent=0.01, offset=7),
    PowerDecay(exponent=0, offset=7),
    Cosine(total=1_900_000_001, floor=0, **WARM),
    Cosine(total=10**12, warmup=10**11),  # beyond int32
    Linear(total=1_900_000_001, floor=0, **WARM),
    Linear(total=2**31 + 5),
    CyclicCosine(budgets=(10**9 + 1, 10**9 + 10**6, LAST - 7), rewarmup=12_345, floor=0, **WARM),
    WSD(budget=1_900_000_001, decay=0.3, floor=1e-4, shape="exponential", **WARM),
    WSDS(budgets=(10**9 + 1, 19 * 10**8), shape="inverse", **WARM),
    WSDS(budgets=(10**9 + 1, 19 * 10**8), of="cumulative", shape="sqrt", floor=0, **WARM),
    Stairs(at=(2**24 + 5, 10**9 + 1, 10**10), values=(0.7, 0.9, 0.3), **WARM),
    PiecewiseLinear(at=(2**24 + 5, 10**9 + 1, 10**12), values=(0, 0.9, 0.3), **WARM),
    Continued(base=InverseSqrt(offset=7), at=(10**9, 10**9 + 9, LAST - 9), values=(0, 1)),
    InverseSqrt(offset=7).decay(at=10**9, steps=10**8, after="return").decay(at=15 * 10**8, steps=10**8),
    InverseSqrt(offset=7).decay(at=10**9, steps=10**8, floor=0).decay(at=10**9 + 5 * 10**7, steps=10**9),
]
SHORT = [
    Constant(warmup=7),
    InverseSqrt(warmup=7, warmup_start=0.1, offset=40),
    PowerDecay(warmup=1, exponent=0.4, offset=30),
    Cosine(warmup=7, total=120, floor=0.0),
    Cosine(warmup=120, total=120),
    Linear(warmup=7, warmup_start=0.3, total=120),
    CyclicCosine(warmup=7, budgets=(40, 80, 120), rewarmup=5),
    CyclicCosine(budgets=(40, 80, 120), floor=0),
    WSD(warmup=7, budget=120, decay=0.2, shape="sqrt"),
    WSD(budget=120, decay=0),
    WSDS(warmup=7, budgets=(30, 60, 110), decay=0.1, shape="power:2"),
    Stairs(warmup=7, at=(30, 60, 110), values=(0.8, 0.9, 0.3)),
    PiecewiseLinear(warmup=30, at=(30, 60, 110), values=(1, 0.9, 0.3)),
    Continued(base=Cosine(warmup=70, total=120), at=(50, 60, 110), values=(0.3, 0.1)),
    InverseSqrt(warmup=70, offset=40).decay(at=50, steps=20, shape="exponential", after="return"),
    Linear(total=120).decay(at=50, steps=0).decay(at=100, steps=1, floor=0),
]
SHAPES = [
    "linear",
    "cosine",
    "sqrt",
    "exponential",
    "inverse",
    "power:0.1",
    "power:2",
    "power:50",
    "power:1000",
]


def positions_of(schedule: Schedule) -> np.ndarray:
    """Up to step 2e9: all around the knots, evenly and closing in between them, and at random."""
    rng = np.random.default_rng(0)
    knots = sorted({1, LAST, *(knot for knot in schedule.knots() if knot < LAST)})
    chosen = [np.add.outer(knots, np.arange(-20, 21)).ravel(), rng.integers(1, LAST, 500)]
    for start, end in pairwise(knots):
        offsets = np.geomspace(1, end - start, 60)
        chosen += [np.linspace(start, end, 60), start + offsets, end - offsets]
    return np.unique(np.concatenate(chosen).astype(np.int64).clip(1, LAST))


def check_equal(schedule: Schedule, positions: np.ndarray, relative: float = 1e-6) -> None:
    rates = jax.jit(optax_schedule(schedule, PEAK))(jnp.asarray(positions - 1, jnp.int32))
    expected = PEAK * schedule(positions)
    np.testing.assert_allclose(np.asarray(rates, np.float64), expected, rtol=relative, atol=1e-15 * PEAK)


@pytest.mark.parametrize("schedule", LONG, ids=lambda schedule: schedule.kind)
def test_up_to_step_2e9_the_rate_is_the_schedules(schedule):
    check_equal(schedule, positions_of(schedule))


@pytest.mark.parametrize("schedule", SHORT, ids=lambda schedule: schedule.kind)
def test_at_every_step_the_rate_is_the_schedules(schedule):
    check_equal(schedule, np.arange(1, 200))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("floor", [0, 1e-6])
def test_every_shape_falls_alike_to_every_floor(shape, floor):
    if floor == 0 and shape in ("exponential", "inverse"):
        floor = 1.0
    long = Constant().decay(at=10**8 + 3, steps=1_700_000_001, shape=shape, floor=floor)
    check_equal(long, positions_of(long))
    late = InverseSqrt(offset=7).decay(at=LAST - 2000, steps=5, shape=shape, floor=floor)
    check_equal(late, np.arange(LAST - 2100, LAST - 1900))


def test_every_kind_is_among_them():
    ours = {kind for kind in kinds().values() if kind.__module__.startswith("riverrun.")}
    assert {type(schedule) for schedule in LONG} == ours


@pytest.mark.parametrize("schedule", LONG[::3], ids=lambda schedule: schedule.kind)
def test_in_x64_the_rate_is_exact(schedule):
    with jax.enable_x64(True):
        check_equal(schedule, positions_of(schedule), relative=1e-12)
        assert optax_schedule(schedule, PEAK)(0).dtype == jnp.float64


@pytest.mark.parametrize("schedule", SHORT[::4], ids=lambda schedule: schedule.kind)
def test_counts_may_be_mapped_over_and_counted_on_the_device(schedule):
    rate, expected = optax_schedule(schedule, PEAK), PEAK * schedule(np.arange(1, 121))
    mapped = jax.vmap(jax.vmap(rate))(jnp.arange(120).reshape(3, 40)).ravel()
    _, scanned = jax.lax.scan(lambda count, _: (count + 1, rate(count)), jnp.int32(0), length=120)
    np.testing.assert_allclose(mapped, expected, rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(scanned, expected, rtol=1e-6, atol=1e-15)


def test_what_is_compiled_does_not_grow_with_the_run():
    def size(total: int) -> tuple[int, int]:
        traced = jax.make_jaxpr(optax_schedule(Cosine(warmup=10, total=total), PEAK))(0)
        return len(str(traced.jaxpr).splitlines()), sum(np.size(constant) for constant in traced.consts)

    assert size(1000) == size(10**9)


@pytest.mark.parametrize("dtype", ["int8", "uint32"])
def test_counts_are_integers_of_any_width(dtype):
    schedule = Linear(warmup=7, total=120)
    rates = optax_schedule(schedule, PEAK)(jnp.arange(100, dtype=dtype).reshape(4, 25))
    assert rates.dtype == jnp.float32
    np.testing.assert_allclose(rates.ravel(), PEAK * schedule(np.arange(1, 101)), rtol=1e-6)
    assert optax_schedule(schedule, PEAK)(6) == np.float32(PEAK)


def test_a_count_that_has_reached_its_end_stays_there():
    rate = optax_schedule(InverseSqrt(offset=100), 1.0)
    last = 2**31 - 1
    assert rate(jnp.int32(last)) == rate(jnp.int32(last - 1)) == pytest.approx((100 / (last + 100)) ** 0.5)


def test_wrong_arguments_say_so():
    with pytest.raises(ValueError, match="count: got float32; must hold integers"):
        optax_schedule(Constant(), PEAK)(jnp.float32(3))
    with pytest.raises(ValueError, match="peak_lr: got -1; must be a number, more than 0"):
        optax_schedule(Constant(), -1)


class Halved(Constant):
    kind = ""  # not to be found by `kinds`

    def body(self, u):
        return super().body(u) / 2


def test_a_kind_of_ones_own_is_not_taken_for_its_parent():
    for schedule in (Halved(), Halved().decay(at=5, steps=5)):
        with pytest.raises(SettingError, match=r"got Halved, .* @register_schedule\(Halved\)"):
            optax_schedule(schedule, PEAK)


class Doubled(Constant):
    kind = ""

    def body(self, u):
        return super().body(u) * 2


def test_a_kind_of_ones_own_may_bring_its_traced_form():
    @integration.register_schedule(Doubled)
    def doubled(schedule: Doubled, s: jax.Array) -> jax.Array:
        return jnp.full(s.shape, 2.0)

    check_equal(Doubled().decay(at=50, steps=20), np.arange(1, 100))


def first_update(transformation, state):
    updates, _ = jax.jit(transformation.update)(jnp.ones(()), state, jnp.zeros(()))
    return -float(updates)


def after_updates(transformation, number):
    state = transformation.init(jnp.zeros(()))
    for _ in range(number):
        _, state = jax.jit(transformation.update)(jnp.ones(()), state, jnp.zeros(()))
    return state


@pytest.mark.parametrize("make", [optax.sgd, optax.inject_hyperparams(optax.sgd)])
def test_the_first_update_of_a_branch_has_the_branchs_rate(make):
    """From one and the same state: the count is all that it knows of the schedule."""
    trunk = InverseSqrt(warmup=3, offset=10)
    state = after_updates(make(optax_schedule(trunk, PEAK)), 20)
    branch = trunk.decay(at=20, steps=2, floor=0)
    assert first_update(make(optax_schedule(trunk, PEAK)), state) == pytest.approx(PEAK * trunk(21), rel=1e-6)
    assert first_update(make(optax_schedule(branch, PEAK)), state) == pytest.approx(
        PEAK * branch(21), rel=1e-6
    )


def test_the_first_update_of_all_is_number_one():
    schedule = Linear(warmup=10, total=100)
    optimizer = optax.sgd(optax_schedule(schedule, PEAK))
    assert first_update(optimizer, optimizer.init(jnp.zeros(()))) == pytest.approx(PEAK / 10, rel=1e-6)


def test_without_optax_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("riverrun.extras.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"needs jax .* and optax .*pip install 'riverrun\[optax\]'"):
        importlib.reload(integration)
