import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.averaging import DecayLike, FixedBeta, HalfLife, Tail, Uniform, parse_profile, profile_named

POSITIVE = st.floats(1e-9, 1e20)
SHARE = st.floats(1e-9, 1)


@given(st.data())
def test_specs_and_names_round_trip(nested_profiles, windows, decays, data):
    """Also for values that Python writes as 1e-05."""
    extreme = st.one_of(
        st.builds(HalfLife, POSITIVE),
        st.builds(Tail, SHARE),
        st.builds(FixedBeta, st.floats(1e-9, 1, exclude_max=True)),
        st.builds(Uniform, st.integers(0, 2**53)),
        st.builds(DecayLike, st.builds("power:{}".format, POSITIVE), SHARE, st.just(0.0) | SHARE),
    )
    profile = data.draw(st.one_of(nested_profiles, windows, decays, extreme))
    assert parse_profile(profile.spec) == profile
    assert profile_named(profile.name) == profile
    assert not set(profile.name) & set("/: ")


@pytest.mark.parametrize(
    ("profile", "name", "spec"),
    [
        (HalfLife(25), "ema-25", "half-life:25"),
        (HalfLife(12.5), "ema-12.5", "half-life:12.5"),
        (Tail(0.2), "tail-0.2", "tail:0.2"),
        (Tail(1e-5), "tail-1e-05", "tail:1e-05"),
        (Uniform(), "uniform", "uniform"),
        (Uniform(start=1000), "uniform-1000", "uniform:from=1000"),
        (FixedBeta(0.999), "beta-0.999", "ema:0.999"),
        (DecayLike("sqrt", 0.2), "decay-like-sqrt-0.2", "decay-like:sqrt:0.2"),
        (DecayLike("linear", 1), "decay-like-linear-1", "decay-like:linear:1"),
        (
            DecayLike("inverse", 0.2, 0.1),
            "decay-like-inverse-0.2-floor-0.1",
            "decay-like:inverse:0.2:floor=0.1",
        ),
        (DecayLike("power:2", 0.2), "decay-like-power-2-0.2", "decay-like:power:2:0.2"),
        (DecayLike("power:1e-05", 1e-6), "decay-like-power-1e-05-1e-06", "decay-like:power:1e-05:1e-06"),
    ],
)
def test_names_and_specs(profile, name, spec):
    assert profile.name == name
    assert profile.spec == spec
    assert parse_profile(spec) == parse_profile(f" {spec} ") == profile
    assert profile_named(name) == profile


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("halflife:25", "got 'halflife:25'; .*did you mean 'half-life:NUMBER'"),
        ("unifrom", "did you mean 'uniform'"),
        ("decaylike:sqrt:0.2", "did you mean 'decay-like:SHAPE:FRACTION'"),
        ("weights.txt", "must be one of .*FILE.csv"),
        ("half-life", "must end in a number"),
        ("tail:x", "must end in a number"),
        ("half-life:0", "f: got 0.0; must be a number, more than 0"),
        ("half-life:nan", "f: got nan"),
        ("tail:1.5", "alpha: got 1.5; .*more than 0 and at most 1"),
        ("ema:1", "beta: got 1.0; .*less than 1"),
        ("uniform:1000", "'uniform:from=STEP'"),
        ("uniform:from=-5", "start: got -5"),
        ("uniform:from=1.5", "start: got 1.5; must be a whole number of steps"),
        ("decay-like", "must be decay-like:SHAPE:FRACTION, such as 'decay-like:sqrt:0.2'"),
        ("decay-like:sqrt", "must be decay-like:SHAPE:FRACTION"),
        ("decay-like:sqrt:much", "must end in a number"),
        ("decay-like:sqrt:0.2:0.1", "shape: got 'sqrt:0.2'; must be one of linear, .*did you mean 'sqrt'"),
        ("decay-like:cubic:0.2", "shape: got 'cubic'; must be one of linear, cosine, sqrt"),
        ("decay-like:power:0.2", "shape: got 'power'; must be power:P"),
        ("decay-like:sqrt:1.5", "fraction: got 1.5"),
        ("decay-like:sqrt:0.2:floor=2", "floor: got 2"),
        ("decay-like:sqrt:0.2:floor=", "must end in a number"),
        (
            "decay-like:inverse:0.2",
            "got 'decay-like:inverse:0.2'; this shape needs a floor, as in 'decay-like:inverse:0.2:floor=0.1'$",
        ),
        ("decay-like:exponential:0.2:floor=0", "as in 'decay-like:exponential:0.2:floor=0.1'$"),
        (None, "got None"),
    ],
)
def test_wrong_specs_are_answered_with_the_way_out(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_profile(spec)


@pytest.mark.parametrize(
    "name",
    [
        "raw",
        "train",
        "ema",
        "ema-",
        "ema-x",
        "ema-0",
        "ema-25.0",  # not how the name is written
        "ema-1e400",
        "tail-1.5",
        "beta-1",
        "uniform-0",
        "uniform-1.5",
        "decay-like-cubic-0.2",
        "decay-like-inverse-0.2",
        "decay-like-linear-0.2-floor-0",
        "decay-like-power-0.2",
        "file-mine",
        "",
    ],
)
def test_names_that_no_spec_gives(name):
    assert profile_named(name) is None
