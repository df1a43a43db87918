"""The claims about linear regression, each as a computation with its tolerance."""

from riverrun.theory.claims.anytime import ANYTIME
from riverrun.theory.claims.bounds import BOUNDS
from riverrun.theory.claims.engines import ENGINES
from riverrun.theory.claims.exponents import EXPONENTS
from riverrun.verification import Claim

CLAIMS: tuple[Claim, ...] = tuple(
    sorted((*ENGINES, *BOUNDS, *EXPONENTS, *ANYTIME), key=lambda claim: int(claim.number[1:]))
)

__all__ = ["CLAIMS"]
