"""Tracks in an optimizer's state hold what tracks of tensors hold, and go where that state goes."""

import json
import os
import subprocess
import sys
from decimal import Decimal, getcontext
from functools import partial

import numpy as np
import pytest
import torch

from riverrun.averaging import FixedBeta, HalfLife, Profile, Tail, Track, Uniform
from riverrun.errors import SettingError
from riverrun.schedules import InverseSqrt

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

from riverrun.integrations.optax import TracksState, averages, optax_schedule, tracks  # noqa: E402
from riverrun.integrations.optax.shares import share  # noqa: E402

PROFILES = [HalfLife(25), HalfLife(12.5), Uniform(), Uniform(7), FixedBeta(0.9)]
RATE = optax_schedule(InverseSqrt(warmup=5, offset=20), 3e-2)


def initial(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return {
        "hidden": [jnp.asarray(rng.normal(size=(4, 8)) / 2, dtype), jnp.zeros(8, dtype)],
        "out": jnp.asarray(rng.normal(size=8), dtype),
    }


def loss(params, batch):
    weight, bias = params["hidden"]
    predicted = jnp.tanh(batch @ weight + bias) @ params["out"]
    return jnp.mean((predicted.astype(jnp.float32) - jnp.sin(batch.sum(-1))) ** 2)


def batch_of(step):
    return jnp.asarray(np.random.default_rng(step).normal(size=(16, 4)), jnp.float32)


def training_step(optimizer):
    """Compiled, with parameters and state donated as in a real loop."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def train(params, state, batch):
        gradients = jax.grad(loss)(params, batch)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return train


def trained(optimizer, steps, dtype=jnp.float32, start=None, first=1):
    params, state = start or (initial(dtype), optimizer.init(initial(dtype)))
    train = training_step(optimizer)
    for step in range(first, steps + 1):
        params, state = train(params, state, batch_of(step))
    return params, state


def host(tree):
    """Copies: on CPU a plain array may share the memory of one that is donated next."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def tensors(params):
    return [torch.from_numpy(np.array(leaf, np.float32)) for leaf in jax.tree.leaves(params)]


@pytest.mark.parametrize(("dtype", "every"), [(jnp.float32, 1), (jnp.bfloat16, 3)])
def test_they_equal_the_tracks_of_tensors(dtype, every):
    optimizer = optax.chain(optax.adamw(RATE), tracks(PROFILES, every=every))
    train, params = training_step(optimizer), initial(dtype)
    state = optimizer.init(params)
    expected = [Track(tensors(params), profile) for profile in PROFILES]
    for step in range(1, 41):
        params, state = train(params, state, batch_of(step))
        if step % every == 0:
            for track in expected:
                track.update(tensors(params), step)
    for track in expected:
        average = jax.tree.leaves(averages(state, track.profile.name))
        for ours, theirs in zip(average, track.value(), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_first_iterate_is_taken_whole_and_as_it_is_rounded(dtype):
    """A compiler that keeps more digits than the parameters have would average what they never were."""
    params, state = trained(optax.chain(optax.adamw(RATE), tracks([HalfLife(25)])), 1, dtype)
    assert_same_bits(averages(state, "ema-25"), host(jax.tree.map(lambda p: p.astype(jnp.float32), params)))
    assert_same_bits(averages(state, "ema-25", like=params), params)


def test_before_the_first_update_an_average_is_the_parameters():
    params = initial(jnp.bfloat16)
    assert_same_bits(averages(tracks().init(params), "ema-25", like=params), params)


def exact_share(profile: Profile, taken: int, step: int) -> float:
    getcontext().prec = 60
    if isinstance(profile, HalfLife):
        return float(1 - (Decimal(taken) / step) ** Decimal(profile.kappa + 1))
    if isinstance(profile, FixedBeta):
        beta = Decimal(profile.beta)
        return float((1 - beta ** (step - taken)) / (1 - beta**step))
    return 1.0 if step <= profile.start else (step - max(taken, profile.start)) / (step - profile.start)


@pytest.mark.parametrize("profile", [*PROFILES, HalfLife(0.5), Uniform(10**9), FixedBeta(1 - 1e-9)], ids=str)
def test_up_to_step_2e9_a_new_iterate_has_its_share(profile):
    pairs = [
        (step - gap, step)
        for step in (1, 2, 1000, 2**24 + 1, 10**9, 10**9 + 1, 2 * 10**9)
        for gap in (1, 10, 1000, step // 2, step)
        if 0 < gap <= step
    ]
    shares = jax.jit(partial(share, profile))(*jnp.array(pairs, jnp.int32).T)
    assert shares.dtype == jnp.float32
    np.testing.assert_allclose(shares, [exact_share(profile, *pair) for pair in pairs], rtol=1e-6)


def test_a_state_is_arrays_alone_and_going_on_from_its_bytes_is_exact():
    optimizer = optax.chain(optax.adamw(RATE), tracks(PROFILES, every=3))
    once = trained(optimizer, 25)
    saved = jax.tree.leaves(host(trained(optimizer, 13)))
    assert all(leaf.dtype in (np.float32, np.int32) for leaf in saved)
    record = json.dumps([(str(leaf.dtype), leaf.shape, leaf.tobytes().hex()) for leaf in saved])
    loaded = [
        np.frombuffer(bytes.fromhex(data), dtype).reshape(shape) for dtype, shape, data in json.loads(record)
    ]
    structure = jax.tree.structure(jax.eval_shape(lambda p: (p, optimizer.init(p)), initial()))
    start = jax.tree.map(jnp.array, jax.tree.unflatten(structure, loaded))
    assert_same_bits(trained(optimizer, 25, start=start, first=14), once)


def test_another_every_may_go_on_from_a_state():
    """The gap is that since the last iterate taken, whatever the interval was then."""
    param, average = jnp.zeros(3), Track([torch.zeros(3)], HalfLife(25))
    state = tracks().init(param)
    for every, first, last in ((4, 1, 10), (3, 11, 20)):
        update = jax.jit(tracks(every=every).update)
        for step in range(first, last + 1):
            _, state = update(jnp.full(3, float(step)), state, param)
            if step % every == 0:
                average.update([torch.full((3,), float(step))], step)
    np.testing.assert_allclose(averages(state, "ema-25"), average.value()[0].numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("every", [1, 10])
def test_an_update_needs_no_memory_besides_the_averages(dtype, every):
    def scratch(optimizer):
        """Bytes for intermediate results, for 1000 parameters."""
        params = {"out": jnp.zeros(1000, dtype)}

        def train(params, state):
            updates, state = optimizer.update(jax.tree.map(lambda p: 2 * p, params), state, params)
            return optax.apply_updates(params, updates), state

        compiled = jax.jit(train, donate_argnums=(0, 1)).lower(params, optimizer.init(params)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    with_tracks = scratch(optax.chain(optax.adamw(RATE), tracks([HalfLife(25)], every=every)))
    assert with_tracks < scratch(optax.adamw(RATE)) + 1000


def test_accumulated_gradients_are_one_update():
    """Within `optax.MultiSteps` the averages count optimizer steps, not the microbatches that lead to one."""
    optimizer = optax.chain(optax.sgd(RATE), tracks([HalfLife(3)]))
    accumulating = optax.MultiSteps(optimizer, 4)
    train, state = training_step(accumulating), accumulating.init(initial())
    params, held = initial(), host(averages(state, "ema-3"))
    for step in range(1, 13):
        params, state = train(params, state, batch_of((step - 1) // 4 + 1))
        if step % 4 == 0:
            held = host(averages(state, "ema-3"))
        assert_same_bits(host(averages(state, "ema-3")), held)
    expected = averages(trained(optimizer, 3)[1], "ema-3")
    for ours, theirs in zip(jax.tree.leaves(held), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_skipped_update_leaves_the_averages_where_they_are():
    optimizer = optax.apply_if_finite(optax.chain(optax.adamw(RATE), tracks([HalfLife(3)])), 10)
    params, state = trained(optimizer, 5)
    before = host((params, averages(state, "ema-3")))
    params, state = training_step(optimizer)(params, state, batch_of(6) * np.nan)
    assert_same_bits((params, averages(state, "ema-3")), before)
    train = training_step(optimizer)
    assert_same_bits(train(params, state, batch_of(6))[0], trained(optimizer, 6)[0])


def test_an_average_is_read_within_compiled_code():
    params, state = trained(optax.chain(optax.adamw(RATE), tracks([HalfLife(3)])), 9)
    before = host((params, state))
    within = jax.jit(lambda state, params: loss(averages(state, "ema-3", like=params), batch_of(0)))
    expected = float(loss(averages(state, "ema-3"), batch_of(0)))
    assert float(within(state, params)) == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(float(loss(params, batch_of(0))), rel=1e-3)
    assert_same_bits((params, state), before)


def test_what_is_masked_out_comes_from_the_parameters():
    params = {"kept": jnp.ones(3), "counter": jnp.arange(2)}
    optimizer = optax.masked(tracks([HalfLife(3)]), {"kept": True, "counter": False})
    updates = {"kept": jnp.ones(3), "counter": jnp.zeros(2, jnp.int32)}
    _, state = optimizer.update(updates, optimizer.init(params), params)
    average = averages(state, "ema-3", like=params)
    assert_same_bits(average, {"kept": jnp.full(3, 2.0), "counter": jnp.arange(2)})


def test_a_track_that_was_not_finite_recovers():
    start = {"w": jnp.array([jnp.nan])}
    transformation = tracks([Uniform(1)])
    _, state = transformation.update({"w": jnp.zeros(1)}, transformation.init(start), {"w": jnp.ones(1)})
    assert averages(state, "uniform-1")["w"] == 1


def chained(*after):
    optimizer = optax.chain(optax.sgd(0.1), tracks(["half-life:25"]), *after)
    return optimizer.init(initial())


def test_what_comes_after_them_in_a_chain_is_told():
    averages(chained(tracks([HalfLife(3)])), "ema-25")  # more of them may
    for after in (optax.scale(0.5), optax.adam(0.1), optax.identity()):
        with pytest.raises(SettingError, match=r"tracks: got .* after it in a chain; must come last"):
            averages(chained(after), "ema-25")
    inner = optax.chain(optax.sgd(0.1), tracks())
    with pytest.raises(SettingError, match="must come last"):
        averages(optax.chain(optax.MultiSteps(inner, 2), optax.scale(2.0)).init(initial()), "ema-25")


def test_wrong_names_and_states_say_so():
    with pytest.raises(ValueError, match="name: got 'ema-24'; must be one of ema-25; did you mean 'ema-25'"):
        averages(chained(), "ema-24")
    with pytest.raises(SettingError, match="opt_state: holds no averages"):
        averages(optax.adamw(RATE).init(initial()), "ema-25")
    with pytest.raises(SettingError, match="opt_state: holds ema-25 2 times"):
        averages(chained(tracks()), "ema-25")


def test_wrong_arguments_say_so():
    with pytest.raises(SettingError, match=r"got 'tail:0.2'; .* needs a history"):
        tracks([Tail(0.2)])
    with pytest.raises(SettingError, match=r"got \['half-life:3', 'half-life:3'\]; must .* differ"):
        tracks([HalfLife(3), "half-life:3"])
    with pytest.raises(SettingError, match=r"got \[\]; must be one or more"):
        tracks([])
    with pytest.raises(ValueError, match="every: got 0; must be a whole number of steps, at least 1"):
        tracks(every=0)
    with pytest.raises(ValueError, match=r"params\['n'\]: got int32; must hold floating-point"):
        tracks().init({"n": jnp.arange(3)})
    with pytest.raises(ValueError, match="tracks: got no params"):
        tracks().update(initial(), tracks().init(initial()))


def test_the_state_follows_the_structure_of_the_parameters():
    """What optax maps over parameters, such as shardings, it maps over the averages too."""
    optimizer = optax.chain(optax.adamw(RATE), tracks([HalfLife(3)]))
    state = optax.tree.map_params(
        optimizer, lambda _: "param", optimizer.init(initial()), transform_non_params=lambda _: "other"
    )
    kept = state[-1]
    assert isinstance(kept, TracksState)
    assert set(jax.tree.leaves(kept.averages)) == {"param"}
    assert (kept.count, kept.taken) == ("other", "other")


SHARDED = """
import jax, jax.numpy as jnp, optax
from jax.sharding import NamedSharding, PartitionSpec
from riverrun.integrations.optax import averages, tracks

mesh = jax.make_mesh((2,), ("x",))
own = NamedSharding(mesh, PartitionSpec("x"))
params = {"w": jax.device_put(jnp.arange(8, dtype=jnp.bfloat16), own)}
optimizer = optax.chain(optax.sgd(1.0), tracks(["uniform"]))
state = optimizer.init(params)
for start in (jax.jit(optimizer.init)(params), state):
    average = averages(start, "uniform")["w"]
    assert average.sharding.is_equivalent_to(own, 1), average.sharding
update = jax.jit(optimizer.update)
for _ in range(2):
    updates, state = update({"w": -jnp.ones_like(params["w"])}, state, params)
    params = optax.apply_updates(params, updates)
average = averages(state, "uniform")["w"]
assert average.sharding.is_equivalent_to(own, 1), average.sharding
assert average.tolist() == [n + 1.5 for n in range(8)]
assert "all-" not in update.lower(updates, state, params).compile().as_text()
"""


@pytest.mark.xdist_group("processes")
def test_averages_of_sharded_parameters_are_sharded_alike_without_communication():
    two = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SHARDED], env=two, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_runs(run_snippets, capsys):
    page = run_snippets("integrations/optax.md")
    losses = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert float(losses["loss/decayed"]) < float(losses["loss/raw"])
    assert float(losses["loss/ema-25"]) < float(losses["loss/raw"])
    assert page["restored"][-1].count == page["restored"][-1].taken == 500
    wave = page["Wave"](period=100)
    np.testing.assert_allclose(page["waves"](jnp.arange(400)), 3e-2 * wave(np.arange(1, 401)), rtol=1e-5)
