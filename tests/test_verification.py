import math

import pytest

from riverrun.verification import Claim, Measurement, near, verify


@pytest.mark.parametrize(
    ("value", "low", "high", "strict", "holds"),
    [
        (1.0, 0.0, 1.0, False, True),
        (1.0, 0.0, 1.0, True, False),
        (1.1, 0.0, 1.0, False, False),
        (-5.0, -math.inf, 0.0, True, True),
        (math.nan, -math.inf, math.inf, False, False),
    ],
)
def test_a_measurement_holds_between_its_bounds(value, low, high, strict, holds):
    assert Measurement(what="", value=value, low=low, high=high, strict=strict).holds is holds


def test_the_tightest_is_the_one_that_fails_or_comes_nearest():
    easy, close, nan = (
        near("easy", 1.0, 1.0, 0.5),
        near("close", 1.49, 1.0, 0.5),
        near("nan", math.nan, 1.0, 0.5),
    )
    broken = near("broken", 1.6, 1.0, 0.5)
    claim = Claim(number="X", statement="", measure=lambda: [easy, close])
    assert verify(claim).tightest is close
    assert verify(Claim(number="X", statement="", measure=lambda: [easy, broken, close])).tightest is broken
    assert verify(Claim(number="X", statement="", measure=lambda: [broken, nan])).tightest is nan


def test_a_claim_without_measurements_does_not_hold():
    assert not verify(Claim(number="X", statement="", measure=list)).holds
    assert verify(Claim(number="X", statement="", measure=lambda: [near("", 1, 1, 0)])).holds
