"""How much of an average the newest iterate makes, traced: what `Profile.cumulative` leaves, without cancellation."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from riverrun.averaging import FixedBeta, HalfLife, Profile, Uniform
from riverrun.errors import SettingError


def share(profile: Profile, taken: Array, step: Array) -> Array:
    """1 - F_step(taken): the share of iterate ``step`` in the average that has taken in ``taken`` before.

    The positions are integers, 0 <= taken < step; their gap is exact before it becomes a float.
    """
    return _SHARES[type(profile)](profile, taken, step)


def check_nested(profile: Profile) -> None:
    """Raise `SettingError` for a profile that cannot be kept online."""
    if type(profile) not in _SHARES:
        raise SettingError(
            f"profiles: got {profile.spec!r}; must be half-life, uniform or ema: "
            "a window that lets iterates go again cannot be kept online, it needs a history of the run"
        )


def _half_life(profile: HalfLife, taken: Array, step: Array) -> Array:
    """1 - (taken / step) ** (kappa + 1)."""
    gap = (step - taken).astype(float)
    return -jnp.expm1((profile.kappa + 1) * jnp.log1p(-gap / step.astype(float)))


def _uniform(profile: Uniform, taken: Array, step: Array) -> Array:
    """Of the iterates after ``start``, the part since ``taken``; all, up to ``start``."""
    start = min(profile.start, jnp.iinfo(step.dtype).max)
    window = jnp.maximum(step - start, 1)
    return jnp.minimum(step - taken, window).astype(float) / window.astype(float)


def _fixed_beta(profile: FixedBeta, taken: Array, step: Array) -> Array:
    """(1 - beta ** gap) / (1 - beta ** step)."""
    rate = math.log(profile.beta)
    return jnp.expm1(rate * (step - taken).astype(float)) / jnp.expm1(rate * step.astype(float))


_SHARES: dict[type[Profile], Callable[[Any, Array, Array], Array]] = {
    HalfLife: _half_life,
    Uniform: _uniform,
    FixedBeta: _fixed_beta,
}
