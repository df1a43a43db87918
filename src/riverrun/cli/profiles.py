"""Profiles as options name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riverrun.averaging import Profile


def parsed_profile(spec: str) -> Profile:
    """`--profile`, or what is wrong with it."""
    from riverrun.averaging import parse_profile
    from riverrun.errors import SettingError

    try:
        return parse_profile(spec)
    except ValueError as error:
        complaint = str(error).removeprefix("profile: ")
        raise SettingError(f"--profile: {complaint}") from None
