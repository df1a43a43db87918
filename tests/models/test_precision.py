import pytest
import torch

from riverrun.models import Decoder, arithmetic, resolve_precision
from riverrun.models.precision import cpu_multiplies_bf16


def test_auto_is_what_the_processor_is_good_at(monkeypatch):
    for able, expected in ((True, "bf16"), (False, "medium")):
        monkeypatch.setattr("riverrun.models.precision.cpu_multiplies_bf16", lambda able=able: able)
        assert resolve_precision("auto", "cpu") == expected
    assert resolve_precision("fp32", "cpu") == "fp32"


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="precision: got 'fp8'"):
        resolve_precision("fp8", "cpu")


def test_this_processors_abilities_are_known():
    assert cpu_multiplies_bf16() in (True, False)


@pytest.mark.parametrize("precision", ["fp32", "medium", "bf16"])
def test_the_context_leaves_no_trace(precision):
    before = torch.get_float32_matmul_precision()
    with pytest.raises(RuntimeError), arithmetic(precision, "cpu"):
        raise RuntimeError
    assert torch.get_float32_matmul_precision() == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("family", ["llama", "olmo"])
@pytest.mark.parametrize(("precision", "tolerance"), [("medium", 0.02), ("bf16", 0.05)])
def test_faster_arithmetic_gives_nearly_the_same_gradients(tiny, tokens, family, precision, tolerance):
    gradients = []
    for chosen in ("fp32", precision):
        model = Decoder(tiny(family=family, width=64, kv_heads=2))
        with arithmetic(chosen, "cpu"):
            model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
        assert all(p.grad.dtype == torch.float32 for p in model.parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    exact, fast = gradients
    assert (fast - exact).norm() < tolerance * exact.norm()


def test_bf16_keeps_the_loss_in_fp32(tiny, tokens):
    with arithmetic("bf16", "cpu"):
        assert Decoder(tiny()).loss(tokens, tokens).dtype == torch.float32
