"""One thread, so that these tests leave the processor to others; and what random profiles and layouts are."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import strategies as st

from riverrun.averaging import BlockLayout, DecayLike, FixedBeta, HalfLife, Profile, Tabulated, Tail, Uniform


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def nested_profiles() -> st.SearchStrategy[Profile]:
    return st.one_of(
        st.builds(HalfLife, st.floats(0.5, 200)),
        st.builds(Uniform, st.integers(0, 200)),
        st.builds(FixedBeta, st.floats(0.01, 0.9999)),
    )


@pytest.fixture(scope="session")
def windows() -> st.SearchStrategy[Profile]:
    """Profiles that have an edge to snap."""
    return st.one_of(st.builds(Tail, st.floats(0.001, 1)), st.builds(Uniform, st.integers(0, 200)))


@pytest.fixture(scope="session")
def decays() -> st.SearchStrategy[DecayLike]:
    powers = st.floats(0.01, 20).map(lambda exponent: f"power:{exponent}")
    fraction = st.floats(0.001, 1)
    return st.one_of(
        st.builds(
            DecayLike, st.sampled_from(["linear", "cosine", "sqrt"]) | powers, fraction, st.floats(0, 1)
        ),
        st.builds(DecayLike, st.sampled_from(["exponential", "inverse"]), fraction, st.floats(1e-6, 1)),
    )


@pytest.fixture(scope="session")
def tables() -> st.SearchStrategy[Tabulated]:
    """Tables that hold weight from their first row on, so that they serve any position."""

    def table(unit: str, positions: list[float], draw_share: list[float]) -> Tabulated:
        shares = (1.0, *draw_share[: len(positions) - 1])
        return Tabulated("table.csv", unit, tuple(positions), shares)

    shares = st.lists(st.floats(0, 5), min_size=8, max_size=8)
    return st.one_of(
        st.builds(
            table, st.just("step"), st.sets(st.integers(1, 500), min_size=1, max_size=8).map(sorted), shares
        ),
        st.builds(
            table,
            st.just("fraction"),
            st.sets(st.floats(0.01, 1), min_size=1, max_size=8).map(sorted),
            shares,
        ),
    )


@pytest.fixture(scope="session")
def any_profile(nested_profiles, windows, decays, tables) -> st.SearchStrategy[Profile]:
    return st.one_of(nested_profiles, windows, decays, tables)


@pytest.fixture(scope="session")
def layouts() -> st.SearchStrategy[BlockLayout]:
    def layout(resolution: int, fractions: list[float], block: int) -> BlockLayout:
        shortest, longest = fractions
        return BlockLayout(resolution=resolution, shortest=shortest, longest=longest, block=block)

    fractions = st.lists(st.just(1.0) | st.floats(0.03, 1), min_size=2, max_size=2).map(sorted)
    return st.builds(layout, st.integers(2, 6), fractions, st.sampled_from([1, 1, 2, 3, 7]))
