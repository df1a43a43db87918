import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.data import BatchSizes
from riverrun.errors import SettingError


@st.composite
def batch_sizes(draw):
    steps = sorted(draw(st.sets(st.integers(2, 60), max_size=4)))
    return BatchSizes(draw(st.integers(1, 9)), [(step, draw(st.integers(1, 9))) for step in steps])


@given(batch_sizes())
def test_samples_are_the_sum_of_all_batches(sizes):
    total = 0
    for step in range(1, 80):
        total += sizes.sequences(step)
        assert sizes.samples(step) == total
    assert sizes.samples(0) == 0


@given(batch_sizes(), st.integers(0, 600))
def test_step_reaching_is_the_first_step_with_so_many_samples(sizes, samples):
    step = sizes.step_reaching(samples)
    assert sizes.samples(step) >= samples
    assert step == 0 or sizes.samples(step - 1) < samples


def test_counts_are_exact_where_floats_are_not():
    sizes = BatchSizes(3, [(10**15, 7)])
    assert sizes.samples(10**16) == 3 * (10**15 - 1) + 7 * (9 * 10**15 + 1)
    assert sizes.step_reaching(sizes.samples(10**16)) == 10**16


def test_a_ramp_begins_at_its_step():
    sizes = BatchSizes(8, [(100, 16)])
    assert (sizes.sequences(99), sizes.sequences(100)) == (8, 16)


@pytest.mark.parametrize("wrong", [(0, ()), (8, [(1, 16)]), (8, [(5, 16), (5, 32)]), (8, [(5, 0)])])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(SettingError):
        BatchSizes(*wrong)


def test_steps_count_from_one():
    with pytest.raises(ValueError, match="counted from 1"):
        BatchSizes(8).sequences(0)
