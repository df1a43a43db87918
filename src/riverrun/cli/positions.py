"""Positions as options name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from riverrun.units import Duration


def parse_position(at: str) -> int | Duration | Literal["latest"]:
    """`--at`: a bare number of steps, a duration, or latest."""
    from riverrun.errors import SettingError
    from riverrun.units import Duration

    if at == "latest":
        return "latest"
    if at.isdecimal():
        return int(at)
    try:
        return Duration.parse(at)
    except SettingError as error:
        raise SettingError(f"--at: {error}, a bare number of steps, or latest") from None
