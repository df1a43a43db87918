import io
from functools import partial

import pytest
import torch
from torch import nn

from riverrun.averaging import FixedBeta, HalfLife, History, Tail, Track, Uniform
from riverrun.integrations.torch import Averager
from riverrun.integrations.torch.host_copy import HostCopy


def new_model(dtype=torch.float32):
    """A small decoder-like model: an embedding that is tied, a norm, a frozen layer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False))
    model[3].weight = model[0].weight
    model[2].bias.requires_grad_(False)
    return model.to(dtype)


@torch.no_grad()
def move(model, step):
    """Stands for an optimizer's step."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        if parameter.requires_grad:
            change = torch.randn(parameter.shape, generator=generator)
            parameter.add_((0.1 * change).to(parameter.dtype))


def train(model, averager, start, stop):
    """Positions start + 1 to stop; what the trainable parameters were at each."""
    seen = []
    for step in range(start + 1, stop + 1):
        move(model, step)
        averager.update(step)
        seen.append({name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad})
    return seen


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(ours, others):
    return ours.keys() == others.keys() and all(torch.equal(ours[name], others[name]) for name in ours)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("profile", [HalfLife(25), Uniform(), FixedBeta(0.9)], ids=lambda p: p.name)
@pytest.mark.parametrize("every", [1, 4])
def test_an_average_is_that_of_the_profile_in_fp32(dtype, profile, every):
    model = new_model(dtype)
    averager = Averager(model, [profile], every=every)
    seen = train(model, averager, 0, 22)
    taken = range(every, 23, every)
    shares = profile.weights(taken[-1], list(taken))
    average = averager.average(profile.name)
    assert averager.step == taken[-1]
    assert set(average) == {"0.weight", "1.weight", "1.bias", "2.weight"}  # tied once, frozen never
    for name, value in average.items():
        exact = sum(share * seen[step - 1][name].double() for share, step in zip(shares, taken, strict=True))
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-6)


def test_applied_gives_the_average_and_the_raw_bits_back():
    model = new_model()
    averager = Averager(model, ["half-life:25", Uniform()])
    train(model, averager, 0, 9)
    before, places = weights(model), [p.data_ptr() for p in model.parameters()]
    for name in averager.names:
        with averager.applied(name):
            inside = weights(model)
            assert same({key: inside[key] for key in averager.average(name)}, averager.average(name))
            assert model[3].weight is model[0].weight
            with averager.applied("uniform"), averager.applied("raw"):
                assert same(weights(model), before)
            assert same(weights(model), inside)
        assert same(weights(model), before)
    with averager.applied("raw"):
        assert same(weights(model), before)
    assert [p.data_ptr() for p in model.parameters()] == places


def test_the_raw_bits_come_back_when_an_evaluation_raises():
    model = new_model(torch.bfloat16)
    averager = Averager(model)
    train(model, averager, 0, 9)
    before = weights(model)

    def evaluate():
        with averager.applied("ema-25"):
            assert not same(weights(model), before)
            raise RuntimeError("evaluation")

    with pytest.raises(RuntimeError, match="evaluation"):
        evaluate()
    assert same(weights(model), before)
    averager.update(10)  # and averaging goes on


def test_what_is_in_the_models_place_is_not_averaged():
    model = new_model()
    averager = Averager(model)
    train(model, averager, 0, 3)
    with (
        averager.applied("ema-25"),
        pytest.raises(RuntimeError, match="update: ema-25 is in the model's place"),
    ):
        averager.update(4)


@pytest.mark.parametrize("history", [None, partial(History, resolution=2)], ids=["tracks", "history"])
def test_interrupted_and_resumed_is_continuous(history):
    model = new_model(torch.bfloat16)
    averager = Averager(model, [HalfLife(25), Uniform(3)], history)
    train(model, averager, 0, 13)
    saved = through_a_file({"model": model.state_dict(), "averages": averager.state_dict()})
    train(model, averager, 13, 30)

    other = new_model(torch.bfloat16)
    resumed = Averager(other, [HalfLife(25), Uniform(3)], history)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["averages"])
    train(other, resumed, 13, 30)
    for name in [*averager.names, *(["tail-0.5"] if history else [])]:
        assert same(averager.average(name), resumed.average(name))
    with pytest.raises(ValueError, match="step: got 30; must be a whole number above the last one, 30"):
        resumed.update(30)


def test_parameters_that_are_others_than_at_first_are_told():
    model = new_model()
    averager = Averager(model)
    train(model, averager, 0, 2)
    model[2] = nn.Linear(4, 4)
    with pytest.raises(RuntimeError, match=r"model: 2\.weight is another tensor than when .* began"):
        averager.average("ema-25")


def test_a_history_gives_any_other_profile():
    model = new_model()
    averager = Averager(model, [], History)
    seen = train(model, averager, 0, 16)
    tail = sum(values["2.weight"] for values in seen[-4:]) / 4
    with averager.applied("tail-0.25"):
        torch.testing.assert_close(model[2].weight.detach(), tail)
    averager.average(Tail(0.5).name)


def test_wrappers_leave_no_trace_in_a_state():
    model = new_model()
    model[2] = torch.compile(model[2])
    averager = Averager(torch.compile(model))
    train(model, averager, 0, 5)
    other = Averager(new_model())
    other.load_state_dict(averager.state_dict())
    assert same(other.average("ema-25"), averager.average("ema-25"))


def test_a_state_of_other_tracks_is_refused_or_completed():
    model = new_model()
    averager = Averager(model, [HalfLife(25)])
    train(model, averager, 0, 5)
    more = Averager(model, [HalfLife(25), HalfLife(12.5)])
    with pytest.raises(
        ValueError, match=r"got the state of ema-25; must be ema-25, ema-12\.5\. With strict=False"
    ):
        more.load_state_dict(averager.state_dict())
    more.load_state_dict(averager.state_dict(), strict=False)
    assert same(more.average("ema-25"), averager.average("ema-25"))
    train(model, more, 5, 6)
    raw = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    assert same(more.average("ema-12.5"), raw)  # it stands for all before


def test_tracks_may_be_named_in_another_order():
    model = new_model()
    averager = Averager(model, [HalfLife(25), Uniform()])
    train(model, averager, 0, 5)
    other = Averager(model, [Uniform(), HalfLife(25)])
    other.load_state_dict(averager.state_dict())
    assert all(same(other.average(name), averager.average(name)) for name in averager.names)


def test_back_to_a_state_that_lacks_something_it_begins_anew():
    model = new_model()
    averager = Averager(model, [HalfLife(25)])
    train(model, averager, 0, 3)
    state = through_a_file(averager.state_dict())
    more = Averager(model, [HalfLife(25), Uniform()], History)
    train(model, more, 3, 9)
    more.average("uniform")["2.weight"].fill_(float("nan"))
    more.load_state_dict(state, strict=False)
    assert more.begun == ["ema-25"]
    with pytest.raises(ValueError, match="uniform: no average yet"):
        more.average("uniform")
    train(model, more, 3, 5)
    fresh = more.average("uniform")
    at_5 = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    torch.testing.assert_close(more.average("tail-0.2"), at_5)  # the history too
    assert not same(fresh, at_5)
    assert fresh["2.weight"].isfinite().all()
    assert more.average("ema-25").keys() == fresh.keys()


def test_a_history_of_other_shapes_is_refused_and_changes_nothing():
    model = new_model()
    averager = Averager(model, history=History)
    train(model, averager, 0, 3)
    state = through_a_file(averager.state_dict())
    state["history"]["means"] = [[mean[:1] for mean in means] for means in state["history"]["means"]]
    train(model, averager, 3, 5)
    before = {name: value.clone() for name, value in averager.average("ema-25").items()}
    with pytest.raises(ValueError, match=r"params\[0\]: got shape"):
        averager.load_state_dict(state)
    assert averager.step == 5
    assert same(averager.average("ema-25"), before)


def test_a_step_back_is_refused_at_once():
    averager = Averager(new_model(), [])  # neither tracks nor a thread of them to tell it later
    averager.update(5)
    with pytest.raises(ValueError, match="step: got 5; must be a whole number above the last one, 5"):
        averager.update(5)


def test_a_state_of_another_model_is_refused_and_changes_nothing():
    model = new_model()
    averager = Averager(model)
    train(model, averager, 0, 5)
    before = {name: value.clone() for name, value in averager.average("ema-25").items()}
    state = through_a_file(averager.state_dict())
    state["tracks"]["ema-25"]["average"]["2.weight"] = torch.zeros(1, 4)
    with pytest.raises(ValueError, match=r"got shape \(1, 4\) for 2.weight \(ema-25\); must be \(4, 4\)"):
        averager.load_state_dict(state)
    del state["tracks"]["ema-25"]["average"]["2.weight"]
    with pytest.raises(ValueError, match=r"2\.weight is in the model alone"):
        averager.load_state_dict(state)
    assert same(averager.average("ema-25"), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tracks": [Tail(0.2)]}, "a window that lets iterates go again cannot be kept online"),
        ({"tracks": [HalfLife(25), "half-life:25"]}, "must differ"),
        ({"every": 0}, "every: got 0; must be a number of steps, at least 1"),
        ({"device": "meta"}, "device: got meta; must be cpu, or left out to be cpu, as the parameters are"),
        ({"model": nn.Identity()}, "model: has no trainable parameters"),
    ],
)
def test_wrong_arguments_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        Averager(**{"model": new_model()} | arguments)


def test_an_unknown_average_is_told_with_the_nearest():
    averager = Averager(new_model(), [HalfLife(25)])
    with pytest.raises(ValueError, match=r"got 'ema-12'; must be one of ema-25; did you mean 'ema-25'\?"):
        averager.average("ema-12")
    with pytest.raises(ValueError, match="ema-25: no average yet; call update first"):
        averager.average("ema-25")


def test_a_host_copy_is_of_the_moment_and_worked_on_in_turn():
    params = [torch.zeros(1000), torch.zeros(3, dtype=torch.bfloat16)]
    copies, seen = HostCopy(params), []
    track = Track(copies.tensors, Uniform())
    for step in range(1, 20):
        for param in params:
            param.fill_(step)

        def work(tensors, step=step):
            seen.append([float(tensor.mean()) for tensor in tensors])
            track.update(tensors, step)

        copies.take(params, work)
        for param in params:
            param.fill_(float("nan"))
    copies.settle()
    assert seen == [[step, step] for step in range(1, 20)]
    torch.testing.assert_close(track.average[0], torch.full((1000,), 10.0))


def test_what_goes_wrong_in_the_thread_is_raised():
    copies = HostCopy([torch.zeros(1)])

    def fail(tensors):
        raise OSError("no room")

    copies.take([torch.ones(1)], fail)
    with pytest.raises(OSError, match="no room"):
        copies.settle()
