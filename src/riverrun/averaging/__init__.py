"""Weight averaging: profiles (which iterates, how much of each), tracks (kept online), swapping them in."""

from riverrun.averaging.applied import applied
from riverrun.averaging.profiles import FixedBeta, HalfLife, Profile, Tail, Uniform, parse_profile
from riverrun.averaging.tracks import Track

__all__ = [
    "FixedBeta",
    "HalfLife",
    "Profile",
    "Tail",
    "Track",
    "Uniform",
    "applied",
    "parse_profile",
]
