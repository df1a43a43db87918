"""The claims of the landscape lab, in the order of their numbers."""

from riverrun.landscape import bigram_claims, river_claims
from riverrun.verification import Claim

CLAIMS: tuple[Claim, ...] = (*river_claims.CLAIMS, *bigram_claims.CLAIMS)
