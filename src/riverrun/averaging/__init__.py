"""Weight averaging: profiles (which iterates, how much of each), tracks (kept online), swapping them in.

A history gives any profile at any position, decided later.
"""

from riverrun.averaging.applied import applied
from riverrun.averaging.decay_like import DecayLike
from riverrun.averaging.history import History
from riverrun.averaging.layout import BlockLayout
from riverrun.averaging.profiles import FixedBeta, HalfLife, Profile, Tail, Uniform
from riverrun.averaging.specs import parse_profile, profile_named
from riverrun.averaging.synthesis import Mixture, Reconstruction, combine, mixture
from riverrun.averaging.tabulated import Tabulated, read_profile
from riverrun.averaging.tracks import Track

__all__ = [
    "BlockLayout",
    "DecayLike",
    "FixedBeta",
    "HalfLife",
    "History",
    "Mixture",
    "Profile",
    "Reconstruction",
    "Tabulated",
    "Tail",
    "Track",
    "Uniform",
    "applied",
    "combine",
    "mixture",
    "parse_profile",
    "profile_named",
    "read_profile",
]
