"""How far an average's loss is from that of the decay that it amounts to, before either is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riverrun.forecast.laws import Prior

if TYPE_CHECKING:
    from riverrun.averaging import Profile  # it brings torch along

# As measured on constant trunks of this package, from ema-100 to a uniform average (docs/forecast.md): the older an
# average's iterates, the worse it is than its decay, for a decay goes on along the river and an average stays behind.
_WORSE = 0.15
_SURE = 0.01
_LESS_SURE = 0.05


def equivalence(profile: Profile, step: int) -> Prior:
    """The prior of the log of what an average's loss at a position is over that of its decay.

    It grows with the mean age of the average's iterates, as a share of the run: .05 for ema-25 and for the last tenth,
    .1 for the last fifth, .5 for all of it.
    """
    age = 1.0 - float(profile.implied_decay(step).sum()) / step
    return Prior(_WORSE * age, _SURE + _LESS_SURE * age)
