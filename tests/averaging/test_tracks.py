import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from riverrun.averaging import FixedBeta, HalfLife, Tail, Track, Uniform

PROFILES = [HalfLife(25), HalfLife(3), Uniform(), Uniform(7), FixedBeta(0.9)]


def random_params(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 3), (), (4,), (2, 3, 2), (0,), (1, 6)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("kind", PROFILES, ids=lambda p: p.spec)
@given(steps=st.sets(st.integers(1, 300), min_size=1, max_size=25).map(sorted))
def test_a_track_holds_the_weights_of_its_profile(kind, steps):
    """Fed one-hot vectors, the average is the vector of weights."""
    rows = torch.eye(len(steps))
    track = Track([rows[0]], kind)
    for row, step in zip(rows, steps, strict=True):
        track.update([row], step)
    expected = kind.weights(steps[-1], steps)
    np.testing.assert_allclose(track.value()[0].numpy(), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("gap", [1, 10, 100])
def test_the_mean_age_does_not_depend_on_the_gap(gap):
    """The parameter is the step, so t - average is the mean age. With the gap ignored it is 0.85 t at 100."""
    kind, param = HalfLife(25), torch.zeros(1)
    track = Track([param], kind)
    t = 2000 * gap
    for step in range(gap, t + 1, gap):
        track.update([param.fill_(step)], step)
    assert (t - track.value()[0].item()) / t == pytest.approx(1 / (kind.kappa + 2), rel=0.01)


@pytest.mark.parametrize("kind", PROFILES, ids=lambda p: p.spec)
@pytest.mark.parametrize("first", [1, 50])
def test_the_first_update_is_taken_whole(kind, first):
    params = random_params()
    track = Track(params, kind)
    track.update(params, first)
    for average, param in zip(track.value(), params, strict=True):
        assert torch.equal(average, param)


def test_up_to_its_start_a_uniform_track_follows_the_weights():
    track = Track([torch.zeros(1)], Uniform(3))
    values = []
    for step in range(1, 6):
        track.update([torch.tensor([float(step)])], step)
        values.append(track.value()[0].item())
    assert values == [1, 2, 3, 4, 4.5]


def test_a_low_precision_parameter_does_not_stall_the_average():
    """From 0 to 1 at beta .999: after 2000 steps 86.5% of the way; a bf16 average moves 9.8% and stops."""
    zero = torch.zeros(3, dtype=torch.bfloat16)
    track = Track([zero], FixedBeta(0.999))
    start = 20_000  # so late that the normalisation of the first steps is gone
    track.update([zero], start)
    for step in range(start + 1, start + 2001):
        track.update([zero + 1], step)
    assert track.value()[0][0].item() == pytest.approx(1 - 0.999**2000, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_average_as_their_fp32_values(dtype, monkeypatch):
    monkeypatch.setattr("riverrun.averaging.lerp.CHUNK", 7)  # many chunks, the last one short
    low = Track(random_params(dtype=dtype), HalfLife(5))
    full = Track(random_params(dtype=dtype), HalfLife(5))
    for step in range(1, 12):
        params = random_params(step, dtype)
        low.update(params, step)
        full.update([p.float() for p in params], step)
    assert all(a.dtype == torch.float32 for a in low.value())
    assert all(map(torch.equal, low.value(), full.value()))


def test_mixed_dtypes_and_a_change_of_dtype():
    params = [torch.ones(3), torch.ones(2, dtype=torch.bfloat16)]
    track = Track(params, Uniform())
    track.update(params, 1)
    track.update([params[0].bfloat16() * 2, params[1].float() * 2], 2)
    assert [a.tolist() for a in track.value()] == [[1.5] * 3, [1.5] * 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_non_contiguous_parameters(dtype, monkeypatch):
    monkeypatch.setattr("riverrun.averaging.lerp.CHUNK", 5)
    layouts = [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x[1:, 1:],
        lambda x: x[0].expand(3, -1),
        lambda x: x.reshape(2, 2, 3, 2).to(memory_format=torch.channels_last),
    ]
    for layout in layouts:
        first, second = (torch.arange(24.0).reshape(4, 6).to(dtype) + shift for shift in (0, 2))
        track = Track([layout(first)], Uniform())
        track.update([layout(first)], 1)
        track.update([layout(second)], 2)
        assert torch.equal(track.value()[0], layout(first).float() + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_aliases_the_live_weights(dtype):
    params = random_params(dtype=dtype)
    before = [p.clone() for p in params]
    track = Track(params, HalfLife(25))
    track.update(params, 1)
    held, state = track.value(), track.state_dict()
    for param in params:
        param.add_(1)
    expected = [p.float() for p in before]
    for kept in (track.value(), held, state["average"]):
        assert all(map(torch.equal, kept, expected))
    track.update(params, 2)
    assert all(map(torch.equal, held, expected))
    assert all(map(torch.equal, state["average"], expected))
    for average in track.average:
        average.zero_()
    assert all(map(torch.equal, params, [p + 1 for p in before]))


@pytest.mark.parametrize("first", [torch.contiguous_format, torch.channels_last])
def test_a_change_of_layout(first, monkeypatch):
    monkeypatch.setattr("riverrun.averaging.lerp.CHUNK", 7)
    other = torch.channels_last if first == torch.contiguous_format else torch.contiguous_format
    param = torch.randn(3, 2, 2, 2).bfloat16()
    track = Track([param.to(memory_format=first)], Uniform())
    for step, layout in enumerate([first, first, other, first], start=1):
        track.update([(step * param).to(memory_format=layout)], step)
    mean = sum((step * param).float() for step in (1, 2, 3, 4)) / 4
    torch.testing.assert_close(track.average[0], mean)


def test_live_parameters_stay_out_of_autograd():
    layer = torch.nn.Linear(3, 2)
    track = Track(layer.parameters(), HalfLife(25))
    loss = layer(torch.ones(1, 3)).sum()
    track.update(layer.parameters(), 1)
    loss.backward()  # an in-place write to a parameter would have raised here
    assert not any(a.requires_grad for a in track.average)
    assert layer.weight.grad is not None


@pytest.mark.parametrize("kind", PROFILES, ids=lambda p: p.spec)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resume_is_exact(kind, dtype):
    once, twice = Track(random_params(), kind), Track(random_params(), kind)
    for step in range(3, 40, 3):
        once.update(random_params(step, dtype), step)
        twice.update(random_params(step, dtype), step)
        if step % 2:
            state = twice.state_dict()
            json.dumps({name: value for name, value in state.items() if name != "average"})
            twice = Track(random_params(), kind)
            twice.load_state_dict(state)
            for tensor in state["average"]:
                tensor.zero_()  # loading copied
    assert twice.step == once.step == 39
    assert all(map(torch.equal, once.value(), twice.value()))


def test_an_update_allocates_nothing():
    """Not counting a few bytes for the views' bookkeeping: no allocation of tensor memory at all."""
    params = [torch.randn(300, 50), torch.randn(40_000).bfloat16(), torch.randn(64, 80).bfloat16().t()]
    track = Track(params, HalfLife(25))
    track.update(params, 1)
    track.update(params, 2)  # the first copies; this one allocates what converts other dtypes from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        for step in range(3, 8):
            track.update(params, step)
    assert max(event.cpu_memory_usage for event in recorded.events()) <= 8


def test_a_tail_needs_a_history():
    with pytest.raises(ValueError, match=r"profile: got 'tail:0.2'; .*needs a history"):
        Track([torch.zeros(1)], Tail(0.2))


@pytest.mark.parametrize("step", [5, 4, 0, -1, 5.5, True])
def test_steps_must_increase(step):
    track = Track([torch.zeros(2)], HalfLife(25))
    track.update([torch.ones(2)], 5)
    with pytest.raises(ValueError, match=r"step: got .*; must be a whole number above the last one, 5"):
        track.update([torch.zeros(2)], step)
    assert track.value()[0].tolist() == [1, 1]


def test_wrong_parameters_change_nothing():
    track = Track([torch.zeros(2), torch.zeros(3)], HalfLife(25))
    track.update([torch.ones(2), torch.ones(3)], 1)
    with pytest.raises(ValueError, match=r"params: got 1 tensors; must be 2"):
        track.update([torch.zeros(2)], 2)
    with pytest.raises(ValueError, match=r"params\[1\]: got shape \(1,\); must be \(3,\)"):
        track.update([torch.zeros(2), torch.zeros(1)], 2)
    assert track.step == 1
    assert track.value()[0].tolist() == [1, 1]


def test_wrong_uses_say_so():
    with pytest.raises(ValueError, match=r"params\[0\]: got torch.int64"):
        Track([torch.zeros(2, dtype=torch.int64)], HalfLife(25))
    with pytest.raises(ValueError, match="ema-25: no average yet"):
        Track([torch.zeros(2)], HalfLife(25)).value()
    state = Track([torch.zeros(2)], HalfLife(12.5)).state_dict()
    with pytest.raises(ValueError, match=r"got the state of 'half-life:12.5'; must be 'half-life:25'"):
        Track([torch.zeros(2)], HalfLife(25)).load_state_dict(state)
