"""Tracks: averages of the parameters, kept in the optimizer's state."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from riverrun.averaging import HalfLife, Profile, parse_profile
from riverrun.errors import SettingError
from riverrun.integrations.optax.shares import check_nested, share
from riverrun.schedules.fields import Number


class TracksState(NamedTuple):
    """The state of `tracks`: arrays only.

    Attributes:
        count: updates done, int32.
        taken: the update whose iterate was taken in last, int32; 0 before the first.
        averages: for each profile's name a tree like the parameters', in float32.
    """

    count: Array
    taken: Array
    averages: dict[str, Any]


def tracks(
    profiles: Iterable[Profile | str] = (HalfLife(25),), *, every: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Keep averages of the parameters as they are after each update; updates pass through unchanged.

    It must come last in a chain, ``optax.chain(optax.adamw(learning_rate), tracks([HalfLife(25)]))``: what it takes
    in is what `optax.apply_updates` will make of the updates that it sees, rounded to the parameters' dtype. An
    average costs 4 bytes per parameter, in float32 whatever the parameters are, with their shapes and sharding.
    `averages` reads it.

    Args:
        profiles: which iterates each average holds, or specs of them ("half-life:25"); nested ones.
        every: the averages take in the iterates of updates divisible by it; the gap enters the weights.

    Raises:
        ValueError: a profile that cannot be kept online, or the same one twice; later, parameters that are not given,
            or do not hold floating-point numbers.
    """
    by_name = _by_name(profiles)
    rule = Number(minimum=1, maximum=2**31 - 1, whole=True, noun="a whole number of steps")
    every = int(rule.check("every", every))

    def init(params: Any) -> TracksState:
        _check_floating(params)
        copy = partial(jnp.array, dtype=jnp.float32, copy=True)  # memory of its own: both may be donated
        return TracksState(
            count=jnp.zeros([], jnp.int32),
            taken=jnp.zeros([], jnp.int32),
            averages={name: jax.tree.map(copy, params) for name in by_name},
        )

    def update(updates: Any, state: TracksState, params: Any = None, **_: Any) -> tuple[Any, TracksState]:
        if params is None:
            raise ValueError("tracks: got no params; call optimizer.update(updates, opt_state, params)")
        step = optax.safe_increment(state.count)

        # Outside of the condition, where it is the same array as the parameters that the caller goes on with.
        iterate = jax.tree.map(_as_rounded, optax.apply_updates(params, updates))

        def take(averages: dict[str, Any]) -> dict[str, Any]:
            return {
                name: _moved(averages[name], iterate, share(profile, state.taken, step))
                for name, profile in by_name.items()
            }

        if every == 1:
            return updates, TracksState(step, step, take(state.averages))
        due = step % every == 0
        averages = jax.lax.cond(due, take, lambda averages: averages, state.averages)
        return updates, TracksState(step, jnp.where(due, step, state.taken), averages)

    return optax.GradientTransformationExtraArgs(init, update)


def _by_name(profiles: Iterable[Profile | str]) -> dict[str, Profile]:
    parsed = [parse_profile(profile) if isinstance(profile, str) else profile for profile in profiles]
    for profile in parsed:
        check_nested(profile)
    by_name = {profile.name: profile for profile in parsed}
    if not parsed or len(by_name) < len(parsed):
        specs = [profile.spec for profile in parsed]
        raise SettingError(f"profiles: got {specs}; must be one or more that differ, such as [HalfLife(25)]")
    return by_name


def _check_floating(params: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = jnp.asarray(leaf).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"params{jax.tree_util.keystr(path)}: got {dtype}; must hold floating-point numbers. "
                "Leave others out with optax.masked(tracks(...), mask)"
            )


def _as_rounded(param: Array) -> Array:
    """The parameter itself, as its dtype holds it.

    On its way to float32 a compiler may leave out that it was rounded, and then averages what never was a parameter.
    A rounding that is asked for by name it keeps.
    """
    dtype = jnp.finfo(param.dtype)
    if dtype.bits >= 32:
        return param  # nothing to leave out
    return jax.lax.reduce_precision(param, dtype.nexp, dtype.nmant)


def _moved(average: Any, iterate: Any, share: Array) -> Any:
    """Each average, by ``share`` of the way to the iterate; a share of 1 is a copy, whatever was there before."""
    share = share.astype(jnp.float32)
    single = jax.tree.map(lambda new: new.astype(jnp.float32), iterate)
    return jax.tree.map(
        lambda old, new: jnp.where(share < 1, old + share * (new - old), new), average, single
    )
