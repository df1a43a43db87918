"""Profiles as text: the specs of recipes and of the command line, and the names in metrics and files."""

import re

from riverrun.averaging.decay_like import DecayLike
from riverrun.averaging.profiles import FixedBeta, HalfLife, Profile, Tail, Uniform
from riverrun.averaging.tabulated import read_profile
from riverrun.schedules.fields import unknown_name

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]\d+)?"  # a positive float as Python writes it
_BY_NUMBER = {profile.kind: profile for profile in (HalfLife, Tail, FixedBeta)}
_FORMS = [
    *(f"{kind}:NUMBER" for kind in _BY_NUMBER),
    "uniform",
    "uniform:from=STEP",
    "decay-like:SHAPE:FRACTION",
]


def parse_profile(spec: str) -> Profile:
    """The profile of a spec.

    "half-life:25", "tail:0.2", "uniform", "uniform:from=1000", "ema:0.999", "decay-like:sqrt:0.2",
    "decay-like:inverse:0.2:floor=0.1", or the path of a CSV file (see `Tabulated`).

    Raises:
        ValueError: an unknown profile (the nearest is offered), or a value missing, extra or out of range.
    """
    text = str(spec).strip()
    if text.endswith(".csv"):
        return read_profile(text)
    kind, _, value = text.partition(":")
    if kind == Uniform.kind:
        return _uniform(spec, value)
    if kind == DecayLike.kind:
        return _decay_like(spec, value)
    if kind not in _BY_NUMBER:
        raise unknown_name("profile", spec, [*_FORMS, "FILE.csv"])
    return _BY_NUMBER[kind](_number(spec, value))


def profile_named(name: str) -> Profile | None:
    """The profile that has this name in metrics and files, "tail-0.2"; None for one that no spec gives back."""
    for kind, written in ((HalfLife.kind, "ema"), (Tail.kind, "tail"), (FixedBeta.kind, "beta")):
        if found := re.fullmatch(rf"{written}-({_NUMBER})", name):
            return _valid(f"{kind}:{found[1]}", name)
    if found := re.fullmatch(r"uniform(?:-(\d+))?", name):
        return _valid(f"uniform:from={found[1]}" if found[1] else "uniform", name)
    pattern = rf"decay-like-([a-z]+)(?:-({_NUMBER}))?-({_NUMBER})(?:-floor-({_NUMBER}))?"
    if found := re.fullmatch(pattern, name):
        shape, exponent, fraction, floor = found.groups()
        shape += f":{exponent}" if exponent else ""
        return _valid(f"decay-like:{shape}:{fraction}" + (f":floor={floor}" if floor else ""), name)
    return None


def _valid(spec: str, name: str) -> Profile | None:
    try:
        profile = parse_profile(spec)
    except ValueError:
        return None
    return profile if profile.name == name else None


def _uniform(spec: str, value: str) -> Uniform:
    if not value:
        return Uniform()
    key, _, start = value.partition("=")
    if key.strip() != "from":
        raise ValueError(f"profile: got {spec!r}; must be 'uniform' or 'uniform:from=STEP'")
    return Uniform(start=_number(spec, start))  # type: ignore[arg-type]  # checked by the profile


def _decay_like(spec: str, value: str) -> DecayLike:
    value, has_floor, floor = value.partition(":floor=")
    shape, _, fraction = value.rpartition(":")  # a shape may have a colon of its own: power:2
    if not shape:
        raise ValueError(
            f"profile: got {spec!r}; must be decay-like:SHAPE:FRACTION, such as 'decay-like:sqrt:0.2'"
        )
    try:
        return DecayLike(shape, _number(spec, fraction), _number(spec, floor) if has_floor else 0.0)
    except ValueError as error:
        if str(error).startswith("floor: got 0;"):
            raise ValueError(
                f"profile: got {spec!r}; this shape needs a floor, as in 'decay-like:{value}:floor=0.1'"
            ) from None
        raise


def _number(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"profile: got {spec!r}; must end in a number, such as 'half-life:25'") from None
