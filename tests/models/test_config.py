import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from riverrun.models import Decoder, DecoderConfig, count_parameters, parameter_kind, training_flops_per_token


def published(layers):
    return DecoderConfig(
        family="olmo",
        layers=layers,
        width=1024,
        heads=16,
        context=1024,
        vocabulary=32_100,
        embedding_rows=32_128,
    )


@st.composite
def configs(draw):
    heads = draw(st.sampled_from([1, 2, 4, 6]))
    return DecoderConfig(
        family=draw(st.sampled_from(["llama", "olmo"])),
        layers=draw(st.integers(1, 3)),
        width=heads * 2 * draw(st.integers(1, 8)),
        heads=heads,
        context=draw(st.integers(1, 64)),
        vocabulary=draw(st.integers(1, 50)),
        kv_heads=draw(st.sampled_from([None, *(k for k in range(1, heads + 1) if heads % k == 0)])),
        mlp=draw(st.none() | st.integers(1, 100)),
        tied=draw(st.booleans()),
        embedding_rows=draw(st.none() | st.integers(50, 64)),
    )


@pytest.mark.parametrize(
    ("layers", "non_embedding", "total"), [(12, 150e6, 216e6), (24, 301e6, 368e6)], ids=["150M", "300M"]
)
def test_counts_match_the_published_models(layers, non_embedding, total):
    count = count_parameters(published(layers))
    assert count.non_embedding == pytest.approx(non_embedding, rel=0.01)
    assert count.total == pytest.approx(total, rel=0.005)


def test_counts_of_the_published_150m_exactly():
    count = count_parameters(published(12))
    blocks = 12 * (4 * 1024**2 + 2 * 1024 * 4096)
    norms = 12 * 4 * 1024 + 1024
    assert (count.matrices, count.norms, count.embedding) == (blocks, norms, 2 * 32_128 * 1024)


@settings(deadline=None, max_examples=50)
@given(configs())
def test_counts_are_those_of_the_module(config):
    with torch.device("meta"):
        model = Decoder(config, seed=None)
    sizes = {"matrix": 0, "embedding": 0, "norm": 0}
    for name, parameter in model.named_parameters():
        sizes[parameter_kind(name)] += parameter.numel()
        assert (parameter.ndim == 1) == (parameter_kind(name) == "norm")
    count = count_parameters(config)
    assert sizes == {"matrix": count.matrices, "embedding": count.embedding, "norm": count.norms}
    assert count.total == sum(sizes.values())


@pytest.mark.parametrize("family", ["llama", "olmo"])
def test_flops_are_those_that_run(tiny, tokens, family):
    model = Decoder(tiny(family=family))
    with FlopCounterMode(display=False) as counter:
        model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    assert counter.get_total_flops() == training_flops_per_token(model.config, length=47) * 3 * 47


def test_default_mlp_width(tiny):
    assert tiny(family="llama", width=64).mlp_width == 176
    assert tiny(family="olmo", width=64).mlp_width == 256
    assert tiny(mlp=100).mlp_width == 100


@settings(deadline=None, max_examples=50)
@given(configs())
def test_a_config_survives_json(config):
    assert DecoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family", "gpt"),
        ("attention", "flash"),
        ("layers", 0),
        ("width", 64.0),
        ("width", True),
        ("context", -1),
        ("vocabulary", 0),
        ("heads", 5),
        ("heads", 32),  # one feature a head cannot rotate
        ("kv_heads", 3),
        ("mlp", 0),
        ("embedding_rows", 60),
        ("rope_theta", 0.0),
        ("norm_eps", float("nan")),
        ("norm_eps", "1e-5"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(tiny, field, value):
    with pytest.raises(ValueError) as error:
        tiny(**{field: value})
    assert str(error.value).startswith(f"{field}: got {value!r}")


def test_unknown_and_missing_fields_are_named(tiny):
    with pytest.raises(ValueError, match=r"^depth: not a field"):
        DecoderConfig.from_dict({**tiny().to_dict(), "depth": 3})
    with pytest.raises(ValueError, match=r"^layers: missing"):
        DecoderConfig.from_dict({"family": "llama"})
