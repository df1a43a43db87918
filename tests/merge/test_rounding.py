"""Averages are the exact ones, rounded once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from riverrun.merge.rounding import average, settle
from riverrun.merge.weights import Weights

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
LOWEST = {torch.bfloat16: -133, torch.float16: -24, torch.float32: -149}
"""Exponents of the smallest subnormal numbers."""

WEIGHTS = {
    "3": Weights((1,) * 3, 3),
    "4": Weights((1,) * 4, 4),
    "5": Weights((1,) * 5, 5),
    "2:3:5": Weights((2, 3, 5), 10),
    "1:999": Weights((1, 999), 1000),
    "floats": Weights.of([0.123, 0.456, 0.4210001]),
    "a tiny float": Weights.of([1e-9, 0.3, 0.7]),
}


CODES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32", torch.float64: "F64"}


def stored(tensor):
    """As a merge reads it: NumPy has no bfloat16, so its bits."""
    return (
        tensor.view(torch.int16).numpy().view(np.uint16) if tensor.dtype == torch.bfloat16 else tensor.numpy()
    )


def loaded(array, dtype):
    return (
        torch.from_numpy(array.view(np.int16)).view(dtype)
        if dtype == torch.bfloat16
        else torch.from_numpy(array)
    )


def merged(rows, weights, dtype):
    """As a merge does it: the first pass, then with care what was doubtful."""
    rows, code = torch.stack(list(rows)), CODES[rows[0].dtype]
    out, doubtful = torch.empty(rows.shape[1], dtype=dtype), np.empty(rows.shape[1], np.bool_)
    average(stored(rows), code, weights, stored(out), CODES[dtype], doubtful)
    again = torch.from_numpy(np.flatnonzero(doubtful))
    out[again] = carefully(rows[:, again], weights, dtype)
    return out, doubtful


def carefully(rows, weights, dtype):
    return loaded(settle(stored(rows), CODES[rows.dtype], weights, CODES[dtype]), dtype)


def any_bits(count, size, dtype):
    """Every finite number of the dtype is equally likely."""
    integer = torch.int32 if dtype == torch.float32 else torch.int16
    low, high = torch.iinfo(integer).min, torch.iinfo(integer).max
    found = torch.randint(low, high + 1, (count, size)).to(integer).view(dtype)
    return torch.where(found.isfinite(), found, torch.ones_like(found))


def alike(count, size, dtype):
    """Checkpoints of one run."""
    return (0.02 * torch.randn(size) + 1e-3 * torch.randn(count, size)).to(dtype)


def short(count, size, dtype):
    """Few bits each, at near and far exponents: many averages lie midway between two numbers."""
    spread = torch.randint(0, 2, (1, size)) * 12 + 3
    return (
        torch.randint(-20, 21, (count, size)) * 2.0 ** -(torch.randint(0, 99, (count, size)) % spread)
    ).to(dtype)


def cancelling(count, size, dtype):
    """The first two nearly vanish against each other, and others are far smaller."""
    found = (torch.randn(count, size) * 2.0 ** torch.randint(-14, 15, (count, size))).to(dtype)
    found[1] = -found[0]
    return found


def subnormal(count, size, dtype):
    """Multiples of the smallest number."""
    return (torch.randint(-300, 301, (count, size)).double() * 2.0 ** LOWEST[dtype]).to(dtype)


@pytest.mark.parametrize("out", DTYPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("make", [any_bits, alike, short, cancelling, subnormal])
def test_every_element_is_the_exact_average_rounded_once(make, weights, dtype, out, exact_averages):
    torch.manual_seed(0)
    rows = list(make(len(weights.numerators), 300, dtype))
    found, _ = merged(rows, weights, out)
    expected = exact_averages(rows, weights, out)
    assert torch.equal(found.double(), expected)


def test_three_and_five_inputs_in_bfloat16_over_many_elements(exact_averages):
    torch.manual_seed(1)
    for count in (3, 5):
        rows = list(alike(count, 20_000, torch.bfloat16))
        weights = Weights((1,) * count, count)
        found, doubtful = merged(rows, weights, torch.bfloat16)
        assert torch.equal(found.double(), exact_averages(rows, weights, torch.bfloat16))
        assert doubtful.mean() < 0.01  # so that checkpoints of one run are merged at full speed
        in_bfloat16 = torch.stack(rows).mean(dim=0, dtype=torch.bfloat16)
        assert (in_bfloat16 != found).float().mean() < 0.5  # the same thing, computed with less care


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
columns = st.integers(1, 6).flatmap(
    lambda count: st.lists(st.lists(numbers, min_size=count, max_size=count), min_size=1, max_size=4)
)


@settings(max_examples=300)
@given(columns, st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.data())
def test_the_first_pass_doubts_every_number_that_it_may_miss(columns, dtype, out, data):
    rows = torch.tensor(columns).T.to(dtype)
    rows = torch.where(rows.isfinite(), rows, torch.zeros_like(rows))
    parts = data.draw(st.lists(st.integers(1, 50), min_size=len(rows), max_size=len(rows)))
    weights = Weights(tuple(parts), sum(parts))
    found, _ = merged(list(rows), weights, out)
    careful = carefully(rows, weights, out)
    assert torch.equal(found, careful)


def test_zeros_keep_their_sign_where_all_agree():
    rows = [torch.tensor([-0.0, 0.0, -0.0], dtype=torch.bfloat16), torch.tensor([-0.0, 0.0, 0.0]).bfloat16()]
    for weights in (Weights((1, 1), 2), Weights((0.3, 0.7), 1)):
        found, _ = merged(rows, weights, torch.bfloat16)
        assert torch.signbit(found).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "weights", [Weights((1, 1, 1), 3), Weights((0.2001, 0.3, 0.4999), 1)], ids=["ratios", "floats"]
)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
def test_infinities_and_nan_go_through(dtype, weights):
    infinity, nan = float("inf"), float("nan")
    columns = [[infinity, 1, 2], [-infinity, 1, -infinity], [infinity, -infinity, 0], [nan, 1, 2], [1, 2, 3]]
    found, _ = merged(list(torch.tensor(columns).T.to(dtype)), weights, dtype)
    assert found[:2].tolist() == [infinity, -infinity]
    assert found[2:].isnan().tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_largest_numbers_average_to_themselves(dtype):
    largest = torch.full((4,), torch.finfo(dtype).max, dtype=dtype)
    for weights in (Weights((1,) * 3, 3), Weights((1,) * 7, 7), Weights.of([0.123, 0.456, 0.4210001])):
        found, _ = merged([largest] * len(weights.numerators), weights, dtype)
        assert torch.equal(found, largest)


def test_doubles_are_summed_in_doubles():
    torch.manual_seed(2)
    rows = list(torch.randn(5, 1000, dtype=torch.float64))
    found, doubtful = merged(rows, Weights((1,) * 5, 5), torch.float64)
    assert not doubtful.any()
    torch.testing.assert_close(found, torch.stack(rows).mean(dim=0), rtol=0, atol=1e-15)
