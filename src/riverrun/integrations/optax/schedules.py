"""Schedules as optax takes them: traced functions of the count, computed from the schedule's own fields."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from riverrun.errors import SettingError
from riverrun.integrations.optax.positions import constants, interval, knots, positions, since, until
from riverrun.integrations.optax.shapes import decaying, power_decay
from riverrun.schedules import (
    WSD,
    WSDS,
    Constant,
    Continued,
    Cosine,
    CyclicCosine,
    Decayed,
    InverseSqrt,
    Linear,
    PiecewiseLinear,
    PowerDecay,
    Schedule,
    Stairs,
)
from riverrun.schedules.fields import Number

OptaxSchedule = Callable[[Any], Array]
Traced = Callable[[Any, Array], Array]
Body = Callable[[Array], Array]
AnyTraced = TypeVar("AnyTraced", bound=Traced)

_TRACED: dict[type[Schedule], Traced] = {}


def optax_schedule(schedule: Schedule, peak_lr: float) -> OptaxSchedule:
    """The learning rate of a schedule as a function of optax's count, for any place where optax takes a schedule.

    ``optax_schedule(schedule, peak_lr)(count)`` is ``peak_lr * schedule(count + 1)``: optax counts the updates done,
    and update s = 1, 2, ... is served by the schedule's position s. It may be traced (jit, vmap, scan), and holds no
    table of steps and no callback. In float32 it is within 1e-6 of its own value up to step 2e9; only where the
    schedule's own float64 has lost the digits, below 1e-9 of the peak, is it within 1e-15 of the peak instead.

    Args:
        schedule: a schedule of any kind of `riverrun.schedules`, or of one that `register_schedule` has been told.
        peak_lr: what a multiplier of 1 stands for.

    Returns:
        A function of an integer count of any shape. Its values have that shape, in float32, or in float64 where
        x64 is on.

    Raises:
        SettingError: a kind of schedule, or of one within it, that has no traced form.
        ValueError: the peak is not a positive number.
    """
    peak = float(Number(above=0).check("peak_lr", peak_lr))

    def learning_rate(count: Any) -> Array:
        return peak * _multipliers(schedule, positions(count))

    jax.eval_shape(learning_rate, jax.ShapeDtypeStruct((), np.int32))  # what has no traced form says so here
    return learning_rate


def register_schedule(kind: type[Schedule]) -> Callable[[AnyTraced], AnyTraced]:
    """A decorator that gives a kind of schedule its traced form: a function of a schedule and of positions.

    The positions are an integer array of values >= 1, of any shape; the function returns float multipliers of the
    peak. A subclass of a registered kind is a kind of its own.
    """

    def register(traced: AnyTraced) -> AnyTraced:
        _TRACED[kind] = traced
        return traced

    return register


def _multipliers(schedule: Schedule, s: Array) -> Array:
    kind = type(schedule)
    if kind not in _TRACED:  # a subclass may have a body of its own
        raise SettingError(
            f"schedule: got {kind.__name__}, which has no traced form; must be one of "
            f"{', '.join(known.__name__ for known in _TRACED)}. Give it one with @register_schedule({kind.__name__})"
        )
    return _TRACED[kind](schedule, s)


def _warmed(schedule: Schedule, s: Array, body: Body) -> Array:
    """The warm-up, and a body as a function of the updates after it."""
    if not schedule.warmup:
        return body(s)
    start = schedule.warmup_start
    warming = start + (1 - start) * (s.astype(float) / float(schedule.warmup))
    return jnp.where(s > knots(schedule.warmup, s), body(since(s, schedule.warmup)), warming)


@register_schedule(Constant)
def _constant(schedule: Constant, s: Array) -> Array:
    return _warmed(schedule, s, lambda u: jnp.ones(u.shape, float))


@register_schedule(InverseSqrt)
def _inverse_sqrt(schedule: InverseSqrt, s: Array) -> Array:
    offset = float(schedule.offset)
    return _warmed(schedule, s, lambda u: jnp.sqrt(offset / (u.astype(float) + offset)))


@register_schedule(PowerDecay)
def _power_decay(schedule: PowerDecay, s: Array) -> Array:
    return _warmed(schedule, s, lambda u: power_decay(u, schedule.exponent, schedule.offset))


@register_schedule(Cosine)
@register_schedule(Linear)
def _to_total(schedule: Cosine | Linear, s: Array) -> Array:
    length = schedule.total - schedule.warmup
    return _warmed(schedule, s, lambda u: decaying(schedule.shape, schedule.floor, u, 0, length))


@register_schedule(CyclicCosine)
def _cyclic_cosine(schedule: CyclicCosine, s: Array) -> Array:
    values = _multipliers(schedule.cycles[0], s)
    for start, cycle in zip(schedule.budgets, schedule.cycles[1:], strict=False):
        values = jnp.where(s > knots(start, s), _multipliers(cycle, since(s, start)), values)
    return values


@register_schedule(Decayed)
def _decayed(schedule: Decayed, s: Array) -> Array:
    return _lowered(schedule, _multipliers(schedule.base, s), s)


@register_schedule(WSD)
@register_schedule(WSDS)
def _stable_then_decay(schedule: WSD | WSDS, s: Array) -> Array:
    values = _multipliers(schedule.decays[0].base, s)
    for decay in schedule.decays:
        values = _lowered(decay, values, s)
    return values


def _lowered(decay: Decayed, values: Array, s: Array) -> Array:
    """The decay over ``values``, its base's multipliers at the positions ``s``."""
    inside = s > knots(decay.at, s)
    if decay.after == "return":
        inside &= s <= knots(decay.end, s)
    lower = decay.level * decaying(decay.shape, decay.floor, s, decay.at, decay.steps)
    return jnp.where(inside, lower, values)


@register_schedule(Stairs)
def _stairs(schedule: Stairs, s: Array) -> Array:
    stairs = constants((1.0, *schedule.values))[interval(s, schedule.at)]
    return _warmed(schedule, s, lambda _: stairs)


@register_schedule(PiecewiseLinear)
def _piecewise_linear(schedule: PiecewiseLinear, s: Array) -> Array:
    lines = _lines(s, (schedule.warmup, *schedule.at), (1.0, *schedule.values))
    return _warmed(schedule, s, lambda _: lines)


@register_schedule(Continued)
def _continued(schedule: Continued, s: Array) -> Array:
    lines = _lines(s, schedule.at, (schedule.level, *schedule.values))
    return jnp.where(s > knots(schedule.at[0], s), lines, _multipliers(schedule.base, s))


def _lines(s: Array, at: tuple[int, ...], values: tuple[float, ...]) -> Array:
    """Straight lines through points, from the first one on; the last value holds."""
    line = jnp.minimum(interval(s, at[1:]), len(at) - 2)
    length = np.maximum(np.diff(at), 1)  # a line of no steps serves no update
    done = jnp.minimum(s - knots(at[:-1], s)[line], knots(length, s)[line]).astype(float)
    rest = until(s, at[1:], line)
    weighed = constants(values[:-1])[line] * rest + constants(values[1:])[line] * done
    return weighed / constants(length)[line]
