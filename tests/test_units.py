from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.errors import SettingError
from riverrun.units import Duration, short_bytes, short_count, short_time


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("500 steps", 500, "steps"),
        ("1 step", 1, "steps"),
        ("12_500 steps", 12_500, "steps"),
        ("65M tokens", 65_000_000, "tokens"),
        ("50M-tokens", 50_000_000, "tokens"),
        ("3.3B tokens", 3_300_000_000, "tokens"),
        ("2k steps", 2_000, "steps"),
        ("2x", 2, "x"),
        ("0.25x", Fraction(1, 4), "x"),
        (".5x", Fraction(1, 2), "x"),
    ],
)
def test_durations_are_read_exactly(text, amount, unit):
    assert Duration.parse(text) == Duration(Fraction(amount), unit)


@pytest.mark.parametrize(
    "text",
    [
        "500",
        "",
        "steps",
        "-500 steps",
        "1.5 steps",
        "0.3 tokens",
        "2 y",
        "1e3 steps",
        500,
        1.0,
        None,
        True,
        "99999999T tokens",
    ],
)
def test_what_could_be_misread_is_refused(text):
    with pytest.raises(SettingError, match="got"):
        Duration.parse(text)


@given(st.integers(0, 2**53), st.sampled_from(["steps", "tokens", "x"]), st.integers(0, 4))
def test_printing_and_reading_give_the_same_duration(number, unit, digits):
    amount = Fraction(number, 10**digits) if unit == "x" else Fraction(number)
    duration = Duration(amount, unit)
    assert Duration.parse(str(duration)) == duration


def test_tokens_of_a_multiple_are_rounded_up():
    assert Duration.parse("0.3x").tokens(tokens_per_x=101) == 31
    assert Duration.parse("7 tokens").tokens(tokens_per_x=101) == 7
    with pytest.raises(ValueError, match="batch size"):
        Duration.parse("7 steps").tokens(tokens_per_x=101)


def test_short_forms_for_people():
    assert [short_count(n) for n in (950, 151_000_000, 3_276_800_000, 999_999)] == [
        "950",
        "151M",
        "3.28B",
        "1M",
    ]
    assert [short_bytes(n) for n in (12, 1536, 3 * 2**30)] == ["12 B", "1.5 KiB", "3.0 GiB"]
    assert [short_time(s) for s in (42, 75, 4000, 10**6)] == ["42 s", "1 min 15 s", "1 h 6 min", "11.6 days"]
