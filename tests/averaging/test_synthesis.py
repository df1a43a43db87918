from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from riverrun.averaging import (
    BlockLayout,
    DecayLike,
    FixedBeta,
    HalfLife,
    Mixture,
    Reconstruction,
    Tail,
    Uniform,
    applied,
    combine,
    mixture,
    synthesis,
)

SPANS = st.sets(st.integers(0, 300), min_size=2, max_size=12).map(sorted).map(pairwise).map(list)
PROFILES = [Tail(0.2), Tail(0.5), Uniform(), HalfLife(25), FixedBeta(0.9), DecayLike("sqrt", 0.2)]


def spread(weights, spans):
    """The weight of each iterate 1 .. t in a mixture of blocks."""
    per_iterate = np.zeros(spans[-1][1])
    for (begin, end), weight in zip(spans, weights, strict=True):
        per_iterate[begin:end] = weight / (end - begin)
    return per_iterate


def distance(profile, at, given_weights):
    """Total variation between the weights of iterates and those of the profile."""
    wanted = np.zeros_like(given_weights)
    wanted[:at] = profile.weights(at)
    return np.abs(given_weights - wanted).sum() / 2


@given(data=st.data(), spans=SPANS)
def test_the_weights_are_convex_and_the_bound_is_their_distance_from_the_profile(any_profile, data, spans):
    profile = data.draw(any_profile)
    at = data.draw(st.integers(spans[0][0] + 1, spans[-1][1]))
    mixed = mixture(profile, spans, at)
    assert mixed.profile == profile
    assert mixed.at == at
    assert mixed.weights.shape == (len(spans),)
    assert mixed.weights.min() >= 0
    assert mixed.weights.sum() == pytest.approx(1)
    assert all(weight == 0 for (begin, _), weight in zip(spans, mixed.weights, strict=True) if begin >= at)
    assert mixed.bound == pytest.approx(distance(profile, at, spread(mixed.weights, spans)), abs=1e-9)
    assert 0 <= mixed.bound <= 1


@given(data=st.data(), spans=SPANS)
def test_each_block_has_what_the_profile_gives_its_iterates(any_profile, data, spans):
    profile = data.draw(any_profile)
    t = spans[-1][1]
    by_iterate = profile.weights(t)
    expected = np.array([by_iterate[begin:end].sum() for begin, end in spans])
    expected[0] += by_iterate[: spans[0][0]].sum()
    np.testing.assert_allclose(mixture(profile, spans).weights, expected, atol=1e-9)


@given(data=st.data(), t=st.integers(1, 60))
def test_blocks_of_one_iterate_give_the_profile_itself(any_profile, data, t):
    profile = data.draw(any_profile)
    mixed = mixture(profile, [(tau, tau + 1) for tau in range(t)])
    assert mixed.bound == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(mixed.weights, profile.weights(t), atol=1e-12)


@given(data=st.data(), t=st.integers(1, 10**6) | st.integers(1, 2000))
def test_a_tail_within_the_design_range_is_near(layouts, data, t):
    """An edge that cuts a block of at most 1 / (resolution - 1) of the tail: f (1 - f) of that at most."""
    layout = data.draw(layouts)
    least = max(layout.shortest, (layout.resolution - 1) * layout.block / t)
    assume(least <= layout.longest)
    alpha = data.draw(st.floats(least, layout.longest))
    mixed = mixture(Tail(alpha), layout.spans(t))
    assert mixed.bound <= 1 / (4 * (layout.resolution - 1)) + 1e-9


@pytest.mark.parametrize(
    ("resolution", "tail", "half_life"),
    [(2, 1 / 4, 0.15), (3, 1 / 8, 0.08), (4, 1 / 12, 0.055), (8, 1 / 28, 0.025)],
)
def test_finer_blocks_are_nearer(resolution, tail, half_life):
    for t in (1000, 12_345, 99_999):
        spans = BlockLayout(resolution=resolution).spans(t)
        for alpha in (0.02, 0.05, 0.1, 0.2, 0.5, 1):
            assert mixture(Tail(alpha), spans).bound <= tail
        for f in (6.25, 12.5, 25):
            assert mixture(HalfLife(f), spans).bound <= half_life


@given(data=st.data(), spans=SPANS)
def test_snapping_gives_the_exact_average_of_the_nearest_window(windows, data, spans):
    profile = data.draw(windows)
    asked = data.draw(st.integers(spans[0][0] + 1, spans[-1][1]))
    mixed = mixture(profile, spans, asked, snap=True)
    at = mixed.at
    assert abs(at - asked) == min(abs(end - asked) for _, end in spans)
    assert isinstance(mixed.profile, Uniform)
    begins = [begin for begin, _ in spans if begin < at]
    assert mixed.profile.start in begins
    wanted = profile.window_start(at)
    assert abs(mixed.profile.start - wanted) == min(abs(begin - wanted) for begin in begins)
    assert mixed.bound == 0
    exact = np.zeros(spans[-1][1])
    exact[mixed.profile.start : at] = 1 / (at - mixed.profile.start)
    np.testing.assert_allclose(spread(mixed.weights, spans), exact, atol=1e-12)


@given(data=st.data(), t=st.integers(1, 5000))
def test_a_snapped_tail_is_off_by_little(layouts, data, t):
    """By half a block at most: 1 / (2 (resolution - 1)) of its length."""
    layout = data.draw(layouts)
    shortest = max(layout.shortest * t, (layout.resolution - 1) * layout.block)
    assume(shortest <= layout.longest * t)
    length = data.draw(st.floats(shortest, layout.longest * t))
    mixed = mixture(Tail(min(length / t, 1.0)), layout.spans(t), snap=True)
    assert abs(t - mixed.profile.start - length) <= length / (2 * (layout.resolution - 1)) + 1e-6


def test_within_a_block_a_position_is_answered_as_well_as_the_block_allows():
    """The window (0, 5] of a block (0, 10]: half the weight lies on iterates that are later."""
    mixed = mixture(Uniform(), [(0, 10)], 5)
    assert mixed.weights.tolist() == [1]
    assert mixed.bound == pytest.approx(0.5)


def test_what_lies_before_the_first_block_is_in_the_bound():
    mixed = mixture(Uniform(), [(6, 8), (8, 10)])
    np.testing.assert_allclose(mixed.weights, [0.8, 0.2])
    assert mixed.bound == pytest.approx(0.6)


def test_long_runs_are_measured_in_parts(monkeypatch):
    profile, spans = HalfLife(3), [(0, 40), (40, 100)]
    whole = mixture(profile, spans, 77).bound
    monkeypatch.setattr(synthesis, "_ITERATES", 7)
    assert mixture(profile, spans, 77).bound == pytest.approx(whole, abs=1e-14)


@pytest.mark.parametrize("at", [-1, 0, 3, 21, 10**9])
def test_positions_outside_the_blocks(at):
    with pytest.raises(ValueError, match=rf"at: got {at}; must be a position from 4 to 20"):
        mixture(Tail(0.2), [(3, 9), (9, 20)], at)


@pytest.mark.parametrize(
    "profile", [HalfLife(25), FixedBeta(0.9), DecayLike("linear", 0.2)], ids=lambda p: p.spec
)
def test_only_a_window_can_snap(profile):
    with pytest.raises(
        ValueError, match=rf"snap: got '{profile.spec}', which has no edge; must be a tail or"
    ):
        mixture(profile, [(0, 5)], snap=True)


def block_means(spans, shapes, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(shape, generator=generator).to(dtype) for shape in shapes] for _ in spans]


SHAPES = [torch.Size(shape) for shape in [(3, 4), (), (0,), (5,)]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_are_weighted_in_fp32(dtype, monkeypatch):
    monkeypatch.setattr(synthesis, "_ELEMENTS", 4)  # several parts, the last one short
    spans = [(0, 4), (4, 6), (6, 9), (9, 10)]
    means = block_means(spans, SHAPES, dtype)
    mixtures = [mixture(profile, spans) for profile in PROFILES]
    sums = combine(mixtures, [lambda block=block: block for block in means], SHAPES)
    assert len(sums) == len(PROFILES)
    for mixed, tensors in zip(mixtures, sums, strict=True):
        assert [tensor.shape for tensor in tensors] == SHAPES
        assert all(tensor.dtype == torch.float32 for tensor in tensors)
        for number, tensor in enumerate(tensors):
            blocks = [block[number].double() for block in means]
            expected = sum(weight * block for weight, block in zip(mixed.weights, blocks, strict=True))
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-6)


def test_all_at_once_are_the_bits_of_one_at_a_time_and_read_each_block_once():
    spans = BlockLayout().spans(1000)
    means = block_means(spans, SHAPES)
    mixtures = [mixture(profile, spans) for profile in PROFILES]
    reads = []

    def reader(index):
        return lambda: reads.append(index) or means[index]

    together = combine(mixtures, map(reader, range(len(spans))), SHAPES)
    assert reads == list(range(len(spans)))
    for mixed, tensors in zip(mixtures, together, strict=True):
        (alone,) = combine([mixed], map(reader, range(len(spans))), SHAPES)
        assert all(map(torch.equal, tensors, alone))


def test_a_block_without_weight_is_not_read():
    spans = [(0, 80), (80, 90), (90, 100)]
    means = block_means(spans, SHAPES)

    def never():
        raise AssertionError("read")

    (tensors,) = combine([mixture(Tail(0.1), spans)], [never, never, lambda: means[2]], SHAPES)
    assert all(map(torch.equal, tensors, means[2]))


def test_sums_are_memory_of_their_own_and_fp32_whatever_the_default():
    means = block_means([(0, 1)], SHAPES)
    before = [mean.clone() for mean in means[0]]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        (tensors,) = combine([mixture(Uniform(), [(0, 1)])], [lambda: means[0]], SHAPES)
    finally:
        torch.set_default_dtype(default)
    assert all(map(torch.equal, tensors, before))
    for tensor in tensors:
        tensor.add_(1)
    assert all(map(torch.equal, means[0], before))


def test_a_reconstruction_is_a_sequence_of_tensors():
    tensors = [torch.full((2,), 3.0), torch.full((1, 2), 4.0), torch.tensor(5.0)]
    average = Reconstruction(Tail(0.2), 10, 0.01, tensors)
    assert len(average) == 3
    assert average[-1] is tensors[2]
    assert average[1:] == tensors[1:]
    assert all(one is other for one, other in zip(average, tensors, strict=True))
    params = [torch.zeros_like(tensor) for tensor in tensors]
    with applied(params, average):
        assert all(map(torch.equal, params, tensors))
    assert "tensor" not in repr(average)


def test_answers_compare_by_identity():
    """Comparing tensors and arrays by == has no single answer."""
    one, other = (Reconstruction(Tail(0.2), 10, 0.0, [torch.zeros(2)]) for _ in range(2))
    assert one == one
    assert one != other
    assert len({one, other}) == 2
    assert Mixture(Tail(0.2), 1, np.ones(2), 0.0) != Mixture(Tail(0.2), 1, np.ones(2), 0.0)
