import pytest
import torch

from riverrun.models import Decoder, Objective, arithmetic


@pytest.fixture(params=["few logits", "many logits"])
def whole_logits(request, monkeypatch):
    """Both sides of the size from which logits are not held whole."""
    if request.param == "many logits":
        monkeypatch.setattr("riverrun.models.decoder.WHOLE_LOGITS", 0)
        monkeypatch.setattr("riverrun.models.cross_entropy.CHUNK", 61 * 40)


def gradients(objective, tokens, precision="fp32"):
    """The loss and the gradient of each parameter."""
    objective.zero_grad()
    with arithmetic(precision, "cpu"):
        loss = objective(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    return loss.detach(), *(parameter.grad.clone() for parameter in objective.parameters())


def close(first, second):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("family", ["llama", "olmo"])
@pytest.mark.parametrize("tied", [True, False])
def test_many_logits_give_the_gradients_of_few(tiny, tokens, family, tied, monkeypatch):
    objective = Objective(Decoder(tiny(family=family, tied=tied)))
    few = gradients(objective, tokens)
    monkeypatch.setattr("riverrun.models.decoder.WHOLE_LOGITS", 0)
    monkeypatch.setattr("riverrun.models.cross_entropy.CHUNK", 61 * 40)
    close(gradients(objective, tokens), few)


def test_it_is_the_sum_of_the_decoders_loss(tiny, tokens, whole_logits):
    decoder = Decoder(tiny())
    loss = Objective(decoder)(tokens[:, :-1], tokens[:, 1:])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss / tokens[:, 1:].numel(), decoder.loss(tokens[:, :-1], tokens[:, 1:]))


@pytest.mark.parametrize(("precision", "recompute"), [("fp32", False), ("bf16", True)])
@pytest.mark.parametrize("family", ["llama", "olmo"])
def test_compilers_see_one_graph(tiny, tokens, whole_logits, family, precision, recompute):
    torch._dynamo.reset()  # or what was compiled for the tests before would count as recompilations
    objective = Objective(Decoder(tiny(family=family, kv_heads=2, attention="fused")))
    objective.decoder.recompute = recompute
    eager = gradients(objective, tokens, precision)
    close(gradients(torch.compile(objective, backend="aot_eager", fullgraph=True), tokens, precision), eager)


def test_plain_attention_compiles_right(tiny, tokens):
    torch._dynamo.reset()
    objective = Objective(Decoder(tiny(attention="plain")))
    eager = gradients(objective, tokens)
    close(gradients(torch.compile(objective, backend="aot_eager"), tokens), eager)


@pytest.mark.parametrize("family", ["llama", "olmo"])
@pytest.mark.parametrize("attention", ["plain", "fused"])
def test_recomputing_changes_no_bit(tiny, tokens, whole_logits, family, attention):
    objective = Objective(Decoder(tiny(family=family, attention=attention)))
    kept = gradients(objective, tokens)
    objective.decoder.recompute = True
    assert all(map(torch.equal, gradients(objective, tokens), kept))


def test_recomputing_keeps_less(tiny, tokens):
    objective = Objective(Decoder(tiny(layers=6)))
    sizes = []
    for objective.decoder.recompute in (False, True):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.append(t.numel()), lambda _: None
        ):
            objective(tokens, tokens)
        sizes.append(sum(kept))
    assert sizes[1] < sizes[0] / 2


def test_weights_lent_in_bf16_leave_the_stream_in_fp32(tiny, tokens, whole_logits):
    """As `fully_shard` with mixed precision lends them: all in bf16, under autocast."""
    for family in ("llama", "olmo"):
        decoder = Decoder(tiny(family=family))
        lent = Decoder(tiny(family=family)).bfloat16()
        lent.cosine, lent.sine = decoder.cosine, decoder.sine
        seen = []
        lent.blocks[1].register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].dtype))
        loss, *found = gradients(Objective(lent), tokens, "bf16")
        exact, *reference = gradients(Objective(decoder), tokens, "bf16")
        assert seen == [torch.float32]
        assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
        for mine, theirs in zip(found, reference, strict=True):
            assert mine.dtype == torch.bfloat16
            assert (mine.float() - theirs).norm() < 0.05 * theirs.norm()
