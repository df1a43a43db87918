import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from riverrun.averaging import FixedBeta, HalfLife, History, Tail, Uniform, applied, history, mixture
from riverrun.averaging.host import Host

BF16 = 2.0**-8  # what rounding to bfloat16 may change, relative
POSITIONS = st.lists(st.one_of(st.just(1), st.integers(1, 3), st.integers(1, 60)), min_size=1, max_size=35)
DTYPES = st.sampled_from([torch.float32, torch.float32, torch.bfloat16])
SHAPES = [(2, 3), (), (0,), (5,), (3, 2), (2, 2)]
SIZE = sum(int(np.prod(shape)) for shape in SHAPES)


def params_of(row):
    """Parameters of several dtypes and layouts that hold a row of numbers."""
    parts = row.split([int(np.prod(shape)) for shape in SHAPES])
    matrix, scalar, empty, vector, transposed, cut = parts
    wide = torch.zeros(2, 6)
    wide[:, 1:5:2] = cut.view(2, 2)
    return [
        torch.nn.Parameter(matrix.view(2, 3).clone()),
        scalar.view(()).clone(),
        empty.clone(),
        vector.bfloat16(),
        transposed.view(3, 2).half().t().contiguous().t(),
        wide[:, 1:5:2],
    ]


def flat(tensors):
    return torch.cat([tensor.detach().double().reshape(-1) for tensor in tensors])


class Run:
    """Iterates that change at some positions; the parameters there, and all of them for brute force."""

    def __init__(self, positions, seed=0, start=0):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(len(positions) + 1, SIZE, generator=generator) + 3
        self.positions, self.start = positions, start
        self.params = [params_of(row) for row in rows]
        values = torch.stack([flat(params) for params in self.params])
        each = np.searchsorted(positions, np.arange(1, positions[-1] + 1))
        each[:start] = len(positions)  # what no history that begins at `start` has seen
        self.iterates = values[each]

    def updates(self):
        return zip(self.params, self.positions, strict=False)

    def mean(self, span):
        begin, end = span
        return self.iterates[begin:end].mean(0)

    def average(self, profile, at):
        return torch.from_numpy(profile.weights(at)) @ self.iterates[:at]

    def reach(self):
        """How far apart the iterates lie, elementwise."""
        return self.iterates.amax(0) - self.iterates.amin(0)


def drawn_run(data, start=0):
    gaps = data.draw(POSITIONS)
    return Run([start + int(p) for p in np.cumsum(gaps)], data.draw(st.integers(0, 99)), start)


def new(layout, **others):
    return History(params_of(torch.zeros(SIZE)), **asdict(layout), **others)


def fed(run, layout, **others):
    filled = new(layout, start=run.start, **others)
    for params, step in run.updates():
        filled.update(params, step)
    return filled


def bits(filled):
    return [(span, [mean.clone() for mean in means]) for span, means in filled.blocks()]


def rounding(filled, run):
    """What the storage may cost, at worst: the stored dtype's rounding each time that a block is merged."""
    if filled.dtype == torch.float32:
        return 3e-5
    return BF16 * run.iterates.abs().max() * (len(run.positions) + filled.layout.most_blocks)


def assert_same_bits(one, other):
    assert [span for span, _ in one] == [span for span, _ in other]
    for (_, means), (_, others) in zip(one, other, strict=True):
        assert all(map(torch.equal, means, others))


@given(st.data())
def test_each_block_holds_the_mean_of_its_iterates(layouts, data):
    """Whatever the dtypes and layouts of the parameters, the gaps, and where it began."""
    start = data.draw(st.sampled_from([0, 0, 1, 10, 77]))
    run, dtype = drawn_run(data, start), data.draw(DTYPES)
    filled = fed(run, data.draw(layouts), dtype=dtype)
    for span, means in filled.blocks():
        torch.testing.assert_close(flat(means), run.mean(span), rtol=0, atol=float(rounding(filled, run)))


@given(st.data())
def test_block_edges_depend_on_the_position_alone(layouts, data):
    """Not on the gaps between updates, nor on where the history began."""
    layout, run = data.draw(layouts), drawn_run(data, data.draw(st.sampled_from([0, 0, 5, 64])))
    filled = new(layout, start=run.start)
    for params, step in run.updates():
        filled.update(params, step)
        edges = [edge for edge in layout.edges(step) if edge > run.start]
        assert filled.spans() == list(zip([run.start, *edges], [*edges, step], strict=True))


@given(st.data())
def test_an_average_is_within_its_bound_of_the_exact_one(layouts, any_profile, data):
    start = data.draw(st.sampled_from([0, 0, 1, 30]))
    run, dtype = drawn_run(data, start), data.draw(DTYPES)
    filled = fed(run, data.draw(layouts), dtype=dtype)
    at = data.draw(st.none() | st.integers(start + 1, filled.step))
    profile = data.draw(any_profile)
    average = filled.reconstruct(profile, at)
    at = filled.step if at is None else at
    assert (average.profile, average.at) == (profile, at)
    assert average.bound == mixture(profile, filled.spans(), at).bound
    assert [tensor.shape for tensor in average] == [torch.Size(shape) for shape in SHAPES]
    assert all(tensor.dtype == torch.float32 for tensor in average)
    error = (flat(average) - run.average(profile, at)).abs()
    assert (error <= average.bound * run.reach() + rounding(filled, run)).all()


@given(st.data())
def test_snapped_it_is_the_exact_average_of_the_declared_window(layouts, windows, data):
    run = drawn_run(data)
    filled = fed(run, data.draw(layouts))
    at = data.draw(st.integers(1, filled.step))
    average = filled.reconstruct(data.draw(windows), at, snap=True)
    assert average.bound == 0
    exact = run.mean((average.profile.start, average.at))
    torch.testing.assert_close(flat(average), exact, rtol=0, atol=3e-5)


@pytest.mark.parametrize("resolution", [2, 4])
def test_tails_of_a_drifting_noisy_run(resolution):
    """On real trajectories the error is far below the bound: neighbours of the window are alike."""
    generator = torch.Generator().manual_seed(0)
    t = 3000
    noise = torch.randn(t, 50, generator=generator)
    iterates = noise.clone()
    for step in range(1, t):
        iterates[step] = 0.98 * iterates[step - 1] + noise[step]
    filled = History([iterates[0]], resolution)
    for step, row in enumerate(iterates, start=1):
        filled.update([row], step)
    for alpha in (0.02, 0.05, 0.1, 0.2, 0.5):
        average = filled.reconstruct(Tail(alpha))
        exact = iterates[t - round(alpha * t) :].mean(0)
        assert average.bound <= 1 / (4 * (resolution - 1))
        assert (average[0] - exact).norm() <= 2 * average.bound * (iterates[-1] - exact).norm() + 1e-4


@given(st.data())
def test_a_resume_is_exact(layouts, any_profile, data):
    """Bit for bit from there on, at any moment: also in the middle of a block."""
    layout, run, dtype = data.draw(layouts), drawn_run(data), data.draw(DTYPES)
    once, twice = new(layout, dtype=dtype), new(layout, dtype=dtype)
    for params, step in run.updates():
        if data.draw(st.booleans()):
            state = twice.state_dict()
            plain = {name: value for name, value in state.items() if name != "means"}
            state |= json.loads(json.dumps(plain))
            twice = new(layout, dtype=dtype)
            twice.load_state_dict(state)
            for means in state["means"]:
                for mean in means:
                    mean.zero_()  # loading copied
        once.update(params, step)
        twice.update(params, step)
        assert once.step == twice.step == step
    assert_same_bits(bits(once), bits(twice))
    profile = data.draw(any_profile)
    assert all(map(torch.equal, once.reconstruct(profile), twice.reconstruct(profile)))


@given(st.data())
def test_going_back_to_an_earlier_state(layouts, data):
    """As when training is taken back to a checkpoint: nothing of what came after is left."""
    layout, run, other = data.draw(layouts), drawn_run(data), drawn_run(data)
    back = fed(run, layout)
    fork = new(layout)
    if data.draw(st.booleans()):
        fork.update(*next(iter(other.updates())))
    back.load_state_dict(fork.state_dict())
    for params, step in other.updates():
        if step > fork.step:
            fork.update(params, step)
            back.update(params, step)
    assert_same_bits(bits(fork), bits(back))


@given(st.data())
def test_other_settings_after_a_resume_only_merge(layouts, data):
    """The means stay right; edges come from the old settings or the new; in time they are those of the new."""
    run = drawn_run(data)
    cut = data.draw(st.integers(1, len(run.positions)))
    before, after = new(data.draw(layouts)), new(data.draw(layouts), dtype=data.draw(DTYPES))
    for params, step in list(run.updates())[:cut]:
        before.update(params, step)
    after.load_state_dict(before.state_dict())
    assert after.spans() == before.spans()
    for params, step in list(run.updates())[cut:]:
        known = {end for _, end in after.spans()[:-1]}
        after.update(params, step)
        edges = {end for _, end in after.spans()[:-1]}
        assert edges <= known | set(after.layout.edges(step))
        assert {edge for edge in edges if edge < before.step} <= known
    for span, means in after.blocks():
        torch.testing.assert_close(flat(means), run.mean(span), rtol=0, atol=float(rounding(after, run)))
    last = 2 * after.layout.resolution * (after.step + after.layout.block)
    after.update(run.params[0], last)
    after.update(run.params[0], last + 1)
    assert after.spans() == after.layout.spans(last + 1)


@pytest.mark.parametrize("block", [1, 10])
def test_the_number_of_blocks_and_buffers_is_bounded_however_long_the_run(block, monkeypatch):
    """Dense stretches and gaps that grow, to ten million steps."""
    made = []
    fresh = Host._new
    monkeypatch.setattr(Host, "_new", lambda self, dtype: made.append(1) or fresh(self, dtype))
    param = torch.zeros(2)
    filled, step, total = History([param], 4, 0.02, block=block), 0, 0
    most = filled.layout.most_blocks
    while step < 10**7:
        for gap in [*[1] * 25, *[block] * 10, *[7] * 10, 1 + step // 50, 1 + step // 2]:
            step, total = step + gap, total + gap * (step + gap)
            filled.update([param.fill_(step)], step)
            assert len(filled.spans()) <= most
        assert filled.spans() == filled.layout.spans(step)
    assert len(made) < most  # and the open block, which is not the host's
    assert filled.reconstruct(Uniform())[0][0].item() == pytest.approx(total / step, rel=1e-5)


def test_storage_in_bf16_costs_its_rounding():
    run, layout = Run(range(1, 1201)), History([torch.zeros(1)]).layout
    filled = fed(run, layout, dtype=torch.bfloat16)
    assert [mean.dtype for _, means in filled.blocks() for mean in means[:1]] == (
        [torch.float32] + [torch.bfloat16] * (len(filled.spans()) - 2) + [torch.float32]
    )  # the open one, and the oldest, which takes in all that follow
    for profile in (Tail(0.2), HalfLife(25), Uniform()):
        stored, full = filled.reconstruct(profile), fed(run, layout).reconstruct(profile)
        error = (flat(stored) - flat(full)).abs()
        assert (error <= BF16 * flat(full).abs()).all()
        assert stored.bound == full.bound


@pytest.mark.parametrize(("longest", "resolution"), [(1.0, 4), (0.1, 4), (0.05, 16), (0.02, 16)])
def test_the_oldest_block_follows_a_drift_in_bf16_too(longest, resolution):
    """In bf16 it would stall: what it takes in is a smaller and smaller share of it, and is rounded away."""
    torch.manual_seed(0)
    start = torch.randn(200)
    filled = History([start], resolution, 0.02, longest, dtype=torch.bfloat16)
    for step in range(1, 8001):
        filled.update([start * (1 + 0.5 * step / 8000)], step)
    exact = start * (1 + 0.25 * 8001 / 8000)
    assert (filled.reconstruct(Uniform())[0] - exact).norm() < 0.002 * exact.norm()


@given(data=st.data())
@settings(max_examples=25)
def test_spilled_to_a_folder_it_is_the_same_and_leaves_no_file(layouts, tmp_path_factory, data):
    layout, run, dtype = data.draw(layouts), drawn_run(data), data.draw(DTYPES)
    folder = tmp_path_factory.mktemp("spill")
    spilled, held = (fed(run, layout, dtype=dtype, spill=spill) for spill in (folder, None))
    assert list(folder.iterdir()) == []
    assert_same_bits(bits(spilled), bits(held))
    again = new(layout, dtype=dtype, spill=folder)
    again.load_state_dict(spilled.state_dict())
    assert_same_bits(bits(again), bits(held))


def test_blocks_are_merged_in_parts(monkeypatch):
    run, layout = Run(range(1, 60)), History([torch.zeros(1)], 2).layout
    whole = bits(fed(run, layout))
    monkeypatch.setattr(history, "_CHUNK", 4)
    assert_same_bits(bits(fed(run, layout)), whole)


def test_several_averages_at_once_are_those_one_at_a_time():
    run = Run(range(1, 200))
    filled = fed(run, History([torch.zeros(1)]).layout)
    profiles = [Tail(0.2), HalfLife(25), Uniform(3), FixedBeta(0.9)]
    for average, profile in zip(filled.reconstruct_all(profiles, 150), profiles, strict=True):
        alone = filled.reconstruct(profile, 150)
        assert (average.profile, average.at, average.bound) == (profile, 150, alone.bound)
        assert all(map(torch.equal, average, alone))
    snapped = filled.reconstruct_all([Tail(0.2), Uniform(3)], snap=True)
    assert [average.bound for average in snapped] == [0, 0]
    assert filled.reconstruct_all([]) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_aliases_the_live_weights_nor_the_blocks(dtype):
    run = Run(range(1, 4))
    live = [param.detach().clone() for param in run.params[0]]
    filled = History(live, dtype=dtype)
    for params, step in run.updates():
        for target, source in zip(live, params, strict=True):
            target.copy_(source.detach())
        given_before = [param.clone() for param in live]
        filled.update(live, step)
        assert all(map(torch.equal, live, given_before)), "parameters are only read"
    held = bits(filled)
    last, state = filled.reconstruct(FixedBeta(1e-9)), filled.state_dict()
    torch.testing.assert_close(flat(last), flat(live))  # the open block alone
    for tensor in [*live, *last, *(mean for means in state["means"] for mean in means)]:
        tensor.add_(1)
    assert_same_bits(bits(filled), held)


def test_live_parameters_stay_out_of_autograd():
    layer = torch.nn.Linear(3, 2)
    filled = History(layer.parameters())
    loss = layer(torch.ones(1, 3)).sum()
    for step in (1, 2, 9, 10):
        filled.update(layer.parameters(), step)
    loss.backward()  # an in-place write to a parameter would have raised here
    assert not any(tensor.requires_grad for tensor in filled.reconstruct(Uniform()))
    assert layer.weight.grad is not None


def test_averages_are_fp32_whatever_the_default_dtype():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        filled = History([torch.zeros(1)])
        for step in range(1, 1001):
            filled.update([torch.ones(1) * (step > 500)], step)
        average = filled.reconstruct(Uniform(250))
    finally:
        torch.set_default_dtype(default)
    assert average[0].dtype == torch.float32
    assert average[0].item() == pytest.approx(2 / 3, abs=average.bound + 1e-4)


def test_a_model_evaluates_as_its_average():
    torch.manual_seed(0)
    model, other = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
    filled = History(model.parameters())
    filled.update(other.parameters(), 1)
    x, raw = torch.randn(3, 4), [param.detach().clone() for param in model.parameters()]
    with applied(model.parameters(), filled.reconstruct(HalfLife(25))):
        assert torch.equal(model(x), other(x))
    assert all(map(torch.equal, model.parameters(), raw))


def test_a_model_without_parameters():
    filled = History([])
    for step in range(1, 9):
        filled.update([], step)
    again = History([])
    again.load_state_dict(filled.state_dict())
    assert list(again.reconstruct(Tail(0.2))) == []
    assert again.spans() == filled.spans()


def test_begun_late_it_says_what_it_cannot_know():
    filled = History([torch.zeros(1)], start=80)
    for step in range(81, 101):
        filled.update([torch.tensor([float(step)])], step)
    assert filled.spans()[0][0] == 80
    late = filled.reconstruct(Tail(0.2))
    assert late[0].item() == pytest.approx(90.5)
    assert late.bound == 0
    assert filled.reconstruct(Uniform()).bound == pytest.approx(0.8)
    with pytest.raises(ValueError, match="at: got 80; must be a position from 81 to 100"):
        filled.reconstruct(Tail(0.2), at=80)


@pytest.mark.parametrize("step", [5, 4, 0, -1, 5.5, True])
def test_steps_must_increase(step):
    filled = History([torch.zeros(2)])
    filled.update([torch.ones(2)], 5)
    with pytest.raises(ValueError, match=r"step: got .*; must be a whole number above the last one, 5"):
        filled.update([torch.zeros(2)], step)
    assert filled.reconstruct(Uniform())[0].tolist() == [1, 1]


def test_wrong_parameters_change_nothing():
    filled = History([torch.zeros(2), torch.zeros(3)])
    filled.update([torch.ones(2), torch.ones(3)], 1)
    before = bits(filled)
    with pytest.raises(ValueError, match=r"params: got 1 tensors; must be 2"):
        filled.update([torch.zeros(2)], 2)
    with pytest.raises(ValueError, match=r"params\[1\]: got shape \(1,\); must be \(3,\)"):
        filled.update([torch.zeros(2), torch.zeros(1)], 2)
    with pytest.raises(ValueError, match=r"params: got 1 tensors; must be 2"):
        filled.load_state_dict(History([torch.zeros(2)]).state_dict())
    assert filled.step == 1
    assert_same_bits(bits(filled), before)


def test_wrong_uses_say_so():
    with pytest.raises(ValueError, match=r"params\[0\]: got torch.int64; must hold floating-point numbers"):
        History([torch.zeros(2, dtype=torch.int64)])
    with pytest.raises(
        ValueError, match=r"dtype: got torch.float16; must be torch.float32 or torch.bfloat16"
    ):
        History([torch.zeros(2)], dtype=torch.float16)
    with pytest.raises(ValueError, match=r"resolution: got 1"):
        History([torch.zeros(2)], 1)
    filled = History([torch.zeros(2)])
    with pytest.raises(ValueError, match="history: holds nothing yet; call update first"):
        filled.reconstruct(Tail(0.2))
    filled.update([torch.zeros(2)], 10)
    for at in (0, 11):
        with pytest.raises(ValueError, match=f"at: got {at}; must be a position from 1 to 10"):
            filled.reconstruct(Tail(0.2), at)
    with pytest.raises(ValueError, match="snap: got 'half-life:25', which has no edge"):
        filled.reconstruct(HalfLife(25), snap=True)
