"""Which column holds the steps, the loss and the learning rate: as told, or by the names they usually have."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from riverrun.errors import nearest
from riverrun.forecast.curve import Floats

Kind = Literal["step", "loss", "lr"]

SAID: dict[Kind, str] = {"step": "steps", "loss": "loss", "lr": "learning rate"}

# Lower case, with _ for blanks and hyphens. A pattern is asked only where none before it serves: Weights & Biases
# counts calls of log() in _step, which are updates only where nothing better was logged.
_USUAL: dict[Kind, tuple[str, ...]] = {
    "step": (
        r"((train|trainer|training)[/_])?(global_)?steps?|iter|iterations?|updates?",
        r"_step",
    ),
    "loss": (
        r"loss|(train|training)[/_](ce_|lm_)?loss(_step)?|loss(es)?[/_](train|training)|(lm_|ce_)loss|loss_step"
        r"|loss_metrics/global_avg_loss",
    ),
    "lr": (
        r"((train|training|optim|optimizer)[/_])?(lr|learning_rate)(_?(group_?)?0)?|(lr|learning_rate)/(train|training)"
        r"|lr_[a-z]*(adam|sgd|muon|lion|adafactor|lamb|soap|shampoo)[a-z]*(/pg1)?",
    ),
}


@dataclass(frozen=True)
class Columns:
    """Names of columns or TensorBoard tags, case and all; None is found by the names it usually has.

    In an export of Weights & Biases, whose columns are called "run - metric", the metric alone names it in all runs.
    """

    step: str | None = None
    loss: str | None = None
    lr: str | None = None

    def check(self, where: str, names: Collection[str]) -> None:
        """Raise `ValueError` where a name that was told is not among those there are."""
        for kind, said in SAID.items():
            name = getattr(self, kind)
            if name is not None and name not in names:
                raise ValueError(
                    f"{where}: no column {name!r} for the {said}{nearest(name, dict.fromkeys(names))}"
                )

    def may_hold(self, kind: Kind, name: str) -> bool:
        """Whether a column may be the one looked for."""
        told = getattr(self, kind)
        return name == told if told is not None else any(_fits(usual, name) for usual in _USUAL[kind])

    def matter(self, name: str) -> bool:
        """Whether a column may be any of those looked for."""
        return any(self.may_hold(kind, name) for kind in SAID)

    def told(self) -> set[str]:
        """The names that were given."""
        return {name for name in asdict(self).values() if name is not None}


@dataclass(frozen=True, eq=False)
class Logged:
    """Values of one column that were logged, and where: at which rows of a file, or at which steps; both [n]."""

    at: Floats
    values: Floats

    def same(self, other: Logged) -> bool:
        """Whether both say the same."""
        return np.array_equal(self.at, other.at) and np.array_equal(self.values, other.values, equal_nan=True)


def pick(where: str, kind: Kind, columns: Columns, logged: Mapping[str, Logged]) -> str | None:
    """The name of the column looked for, None where there is none.

    Columns of one value do not count beside longer ones (a summary at the end), and equal ones count as one.

    Raises:
        ValueError: several could be it.
    """
    told = getattr(columns, kind)
    if told is not None:
        return told if told in logged else None
    for usual in _USUAL[kind]:
        found = [name for name in logged if _fits(usual, name)]
        longer = [name for name in found if logged[name].at.size > 1]
        found = longer or found
        if found and all(logged[name].same(logged[found[0]]) for name in found):
            return found[0]
        if found:
            choice = " or ".join(repr(name) for name in found)
            raise ValueError(
                f"{where}: the {SAID[kind]} could be {choice}; name the column of the {SAID[kind]}"
            )
    return None


def _fits(usual: str, name: str) -> bool:
    return re.fullmatch(usual, re.sub(r"[\s-]+", "_", name.strip().casefold())) is not None
