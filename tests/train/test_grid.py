from hypothesis import given
from hypothesis import strategies as st

from riverrun.train.grid import GeometricGrid


@given(
    first=st.integers(1, 10**9),
    ratio=st.floats(1.01, 10),
    batch=st.integers(1, 10**7),
    start=st.integers(0, 10**6),
)
def test_a_step_is_due_exactly_when_it_passes_a_point(first, ratio, batch, start):
    grid = GeometricGrid(float(first), ratio)
    before, after = start * batch, (start + 1) * batch
    passed = [point for point in grid.points(after) if before < point <= after]
    assert grid.crossed(before, after) == bool(passed)


def test_the_grid_has_no_end_and_grows_by_the_ratio():
    assert GeometricGrid(100.0, 2.0).points(1600) == [100, 200, 400, 800, 1600]
    assert GeometricGrid(100.0, 1.5).points(340) == [100, 150, 225, 338]
    assert GeometricGrid(100.0, 2.0).crossed(100 * 2**40 - 1, 100 * 2**40)
