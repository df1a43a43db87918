"""Settings as short text: all of a recipe, and those in which a branch differs from its parent."""

from __future__ import annotations

import json
from typing import Any

from riverrun.train.plan import Plan
from riverrun.train.schedule_words import described
from riverrun.train.settings import flatten

_LONGEST = 120
_UNSET = "unset"


def recipe_rows(plan: Plan) -> list[list[str]]:
    """[setting, value] of the resolved recipe."""
    return [[path, text_of(value)] for path, value in _flat(plan).items()]


def difference_rows(parent: Plan, own: Plan) -> list[list[str]]:
    """[setting, the parent's value, its own] of settings that differ.

    Schedules of another form, such as a decay of the parent's, are one row of words.
    """
    before, after = _flat(parent), _flat(own)
    differing = [
        path for path in dict.fromkeys([*before, *after]) if before.get(path, ...) != after.get(path, ...)
    ]
    rows = []
    if described(parent) != described(own):
        rows.append(["schedule", described(parent), described(own)])
        differing = [path for path in differing if not path.startswith("schedule.")]
    return rows + [
        [path, text_of(before.get(path, _UNSET)), text_of(after.get(path, _UNSET))] for path in differing
    ]


def text_of(value: Any) -> str:
    """A setting's value in a few characters."""
    text = (
        value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)
    )
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _flat(plan: Plan) -> dict[str, Any]:
    return flatten(plan.recipe.to_dict())
