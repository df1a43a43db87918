"""Every claim of the landscape lab holds, by the code that `riverrun landscape verify` runs."""

import pytest

from riverrun.landscape.claims import CLAIMS
from riverrun.verification import verify


@pytest.mark.parametrize(
    "claim",
    [pytest.param(claim, id=claim.number, marks=() if claim.quick else pytest.mark.slow) for claim in CLAIMS],
)
def test_the_claim_holds(claim):
    found = verify(claim)
    broken = [
        f"{one.what}: {one.value:.6g}, allowed {one.bound}" for one in found.measurements if not one.holds
    ]
    assert found.holds, broken
    assert {type(one.value) for one in found.measurements} <= {float, int}  # which JSON can hold


def test_the_claims_are_those_of_the_reference_in_order():
    assert [claim.number for claim in CLAIMS] == [
        *(f"R{number}" for number in range(1, 8)),
        *(f"G{number}" for number in range(1, 5)),
    ]
