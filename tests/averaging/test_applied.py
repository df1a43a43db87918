import pytest
import torch

from riverrun.averaging import HalfLife, Track, applied


@pytest.fixture
def params():
    generator = torch.Generator().manual_seed(0)
    contiguous = torch.randn(3, 4, generator=generator)
    return [
        torch.nn.Parameter(contiguous.clone()),
        torch.nn.Parameter(contiguous.bfloat16()),
        contiguous.clone().t(),
        torch.tensor([float("nan"), -0.0, 1e-45]),
    ]


def bits(tensors):
    return [t.detach().contiguous().view(torch.uint8).clone() for t in tensors]


def values_for(params):
    return [torch.full(p.shape, 1 / 3) for p in params]


def test_averages_go_in_and_the_raw_bits_come_back(params):
    before, identities = bits(params), [p.data_ptr() for p in params]
    with applied(params, values_for(params)) as raw:
        assert all((p == torch.tensor(1 / 3).to(p.dtype)).all() for p in params)
        assert all(map(torch.equal, bits(raw), before))
        assert [p.data_ptr() for p in params] == identities
    assert all(map(torch.equal, bits(params), before))
    assert [p.data_ptr() for p in params] == identities


def test_the_raw_bits_come_back_when_the_evaluation_raises(params):
    before = bits(params)
    with pytest.raises(RuntimeError, match="evaluation"), applied(params, values_for(params)):
        raise RuntimeError("evaluation")
    assert all(map(torch.equal, bits(params), before))


def test_what_the_block_writes_is_lost(params):
    before = bits(params)
    with torch.no_grad(), applied(params, values_for(params)):
        params[0].zero_()
    assert all(map(torch.equal, bits(params), before))


def test_blocks_nest(params):
    before = bits(params)
    with applied(params, values_for(params)):
        outer = bits(params)
        with applied(params, [torch.zeros(p.shape) for p in params]):
            assert not params[0].any()
        assert all(map(torch.equal, bits(params), outer))
    assert all(map(torch.equal, bits(params), before))


def test_tied_parameters(params):
    tied = [params[0], params[0]]
    before = bits(tied)
    with applied(tied, values_for(tied)):
        pass
    assert all(map(torch.equal, bits(tied), before))


@pytest.mark.parametrize("change", [lambda v: v[:-1], lambda v: [v[0][:1], *v[1:]]])
def test_values_that_do_not_fit_change_nothing(params, change):
    before = bits(params)
    with pytest.raises(ValueError, match="values: got"), applied(params, change(values_for(params))):
        pass
    assert all(map(torch.equal, bits(params), before))


def test_a_model_evaluates_as_its_average():
    torch.manual_seed(0)
    model, average = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
    track = Track(model.parameters(), HalfLife(25))
    track.update(average.parameters(), 1)
    x = torch.randn(3, 4)
    with applied(model.parameters(), track.average):
        assert torch.equal(model(x), average(x))
    assert not torch.equal(model(x), average(x))
