"""The averages that `tracks` keeps, found in the state of any optimizer that it is a part of."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import optax

from riverrun.errors import SettingError
from riverrun.integrations.optax.tracks import TracksState
from riverrun.schedules.fields import unknown_name


def averages(opt_state: Any, name: str, like: Any = None) -> Any:
    """An average of the parameters, as a tree of their shapes; before the first update, the parameters given to init.

    A pure function, to be called within a compiled function or outside. In float32 the arrays are the state's own:
    where the training step donates its state, copy what must outlive the next step.

    Args:
        opt_state: the state of an optimizer that `tracks` is a part of, at any depth.
        name: the profile's name, such as "ema-25".
        like: the parameters: the average then comes in their dtypes, and what it leaves out (`optax.masked`) as it is
            there. Default: float32.

    Raises:
        ValueError: there is no such average, there are several, or `tracks` is not last in its chain.
    """
    found = [state.averages for state in _tracks_states(opt_state) if name in state.averages]
    if not found:
        known = [known for state in _tracks_states(opt_state) for known in state.averages]
        if known:
            raise unknown_name("name", name, known)
        raise SettingError(
            "opt_state: holds no averages; must be the state of an optimizer such as "
            "optax.chain(optax.adamw(learning_rate), tracks([HalfLife(25)])), restored into the structure of its init"
        )
    if len(found) > 1:
        raise SettingError(
            f"opt_state: holds {name} {len(found)} times; give averages the part that is meant"
        )
    if like is None:
        return found[0][name]
    return jax.tree.map(_as_in, found[0][name], like, is_leaf=_is_masked)


def _as_in(average: Any, param: Any) -> Any:
    return param if _is_masked(average) else average.astype(param.dtype)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _tracks_states(node: Any) -> Iterator[TracksState]:
    """Every state of `tracks` within a tree of states."""
    if isinstance(node, TracksState):
        yield node
    elif isinstance(node, Mapping):
        for part in node.values():
            yield from _tracks_states(part)
    elif isinstance(node, tuple | list):
        for index, part in enumerate(node):
            states = list(_tracks_states(part))
            if states and type(node) is tuple:  # the state of optax.chain
                _check_last(node[index + 1 :])
            yield from states


def _check_last(rest: tuple[Any, ...]) -> None:
    for part in rest:
        if not isinstance(part, TracksState):
            raise SettingError(
                f"tracks: got {type(part).__name__} after it in a chain; must come last, "
                "so that it sees the updates that the parameters get"
            )
