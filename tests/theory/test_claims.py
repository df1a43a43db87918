"""Every claim of the theory lab holds; those that take minutes are slow."""

import pytest

from riverrun.theory.claims import CLAIMS
from riverrun.verification import verify

NUMBERED = [
    pytest.param(claim, id=claim.number, marks=[] if claim.quick else [pytest.mark.slow]) for claim in CLAIMS
]


@pytest.mark.parametrize("claim", NUMBERED)
def test_the_claim_holds(claim):
    found = verify(claim)
    assert found.holds, [(one.what, one.value, one.bound) for one in found.measurements if not one.holds]


def test_all_claims_are_there():
    assert [claim.number for claim in CLAIMS] == [f"C{n}" for n in range(1, 15)]
