import math

import pytest
import torch

from riverrun.models import Decoder


@pytest.fixture(params=["llama", "olmo"])
def model(request, tiny):
    return Decoder(tiny(family=request.param, kv_heads=2))


def test_positions_see_only_the_past(model, tokens):
    changed = tokens.clone()
    changed[:, 30:] = (changed[:, 30:] + 1) % 61
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :30], after[:, :30])
    assert (before[:, 30:] != after[:, 30:]).any(dim=-1).all()


def test_a_prefix_gives_the_same_logits(model, tokens):
    torch.testing.assert_close(model(tokens[:, :17]), model(tokens)[:, :17])


def test_word_order_matters(model, tokens):
    swapped = tokens.clone()
    swapped[:, [0, 1]] = tokens[:, [1, 0]]
    assert not torch.allclose(model(tokens)[:, 5:], model(swapped)[:, 5:], atol=1e-4)


def test_loss_is_nats_per_token(model, tokens):
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    chosen = model(inputs).double().log_softmax(-1).gather(-1, targets.unsqueeze(-1))
    assert model.loss(inputs, targets).item() == pytest.approx(-chosen.mean().item(), rel=1e-5)
    assert model.loss(inputs, targets, reduction="sum").item() == pytest.approx(
        -chosen.sum().item(), rel=1e-5
    )


def test_zero_logits_cost_the_log_of_the_rows(tiny, tokens):
    model = Decoder(tiny(embedding_rows=64))
    torch.nn.init.zeros_(model.unembedding.weight)
    assert model.loss(tokens, tokens).item() == pytest.approx(math.log(64))


def test_too_long_a_sequence_is_refused(model):
    with pytest.raises(ValueError, match="tokens: got 49 positions; the context holds at most 48"):
        model(torch.zeros(1, 49, dtype=torch.long))


def test_query_key_norm_undoes_the_scale_of_queries_and_keys(tiny, tokens):
    model = Decoder(tiny(family="olmo"))
    before = model(tokens)
    with torch.no_grad():
        model.blocks[0].attention.query_key_value.weight[:64] *= 10
    torch.testing.assert_close(model(tokens), before, atol=1e-3, rtol=1e-3)


def test_tied_means_one_matrix(tiny, tokens):
    model = Decoder(tiny(tied=True))
    assert "unembedding.weight" not in model.state_dict()
    model(tokens).sum().backward()  # reaches the rows of tokens that were never read, too
    assert (model.embedding.weight.grad.abs().sum(dim=1) > 0).all()


def test_weights_follow_the_published_initialisation(tiny):
    width, mlp = 256, 512
    model = Decoder(tiny(family="olmo", width=width, heads=4, layers=3, mlp=mlp, vocabulary=500), seed=3)
    expected = {"embedding": width**-0.5, "unembedding": width**-0.5}
    for layer in range(3):
        expected[f"blocks.{layer}.attention.query_key_value"] = width**-0.5
        expected[f"blocks.{layer}.mlp.up"] = width**-0.5
        expected[f"blocks.{layer}.attention.output"] = (2 * width * (layer + 1)) ** -0.5
        expected[f"blocks.{layer}.mlp.down"] = (2 * mlp * (layer + 1)) ** -0.5
    for name, std in expected.items():
        weight = model.get_parameter(f"{name}.weight").detach()
        # A normal cut at three standard deviations keeps 0.98658 of its own.
        assert weight.std().item() == pytest.approx(0.98658 * std, rel=0.01), name
        assert weight.mean().abs().item() < 5 * std / weight.numel() ** 0.5, name
        assert 2.9 * std < weight.abs().max().item() <= 3 * std * (1 + 1e-6), name
    norms = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    assert all((parameter == 1).all() for parameter in norms)
    assert len(norms) == 3 * 4 + 1


def test_a_seed_is_the_weights_and_leaves_the_global_generator_alone(tiny):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = Decoder(tiny(), seed=7), Decoder(tiny(), seed=7), Decoder(tiny(), seed=8)
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        if weight.ndim == 2:
            assert not torch.equal(weight, other.state_dict()[name])


def test_a_few_steps_learn_a_repeated_batch(model, tokens):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = model.loss(tokens[:, :-1], tokens[:, 1:]).item()
    for _ in range(30):
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first
