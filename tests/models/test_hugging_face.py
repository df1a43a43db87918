import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from riverrun.errors import CheckpointError
from riverrun.models import Decoder, load_config, load_pretrained, save_pretrained

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

LLAMAS = {
    "untied": {},
    "tied": {"tied": True},
    "grouped": {"kv_heads": 2},
    "padded": {"embedding_rows": 64, "rope_theta": 500.0, "norm_eps": 1e-3},
}


@pytest.fixture(params=LLAMAS, ids=str)
def llama(request, tiny):
    return Decoder(tiny(**LLAMAS[request.param]), seed=4)


@pytest.fixture
def saved(tiny, tmp_path):
    """A saved llama, to be damaged: its directory."""
    model = Decoder(tiny())
    save_pretrained(tmp_path / "model", model.config, model.state_dict())
    return tmp_path / "model"


def test_transformers_gives_the_same_logits(llama, tokens, tmp_path):
    from transformers import AutoModelForCausalLM

    save_pretrained(tmp_path / "model", llama.config, llama.state_dict())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(theirs).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(theirs(tokens).logits, llama(tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shard_size", ["5GB", "20KB"])
def test_what_transformers_wrote_is_read(llama, tokens, tmp_path, shard_size):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = llama.config
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.rows,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.context,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tied,
        )
    )
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_size == "20KB")
    _, ours = load_pretrained(tmp_path)
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shard_bytes", [5_000_000_000, 20_000])
@pytest.mark.parametrize("family", ["llama", "olmo"])
def test_saving_and_loading_keeps_every_bit(tiny, tmp_path, family, shard_bytes):
    model = Decoder(tiny(family=family, kv_heads=2, embedding_rows=64))
    save_pretrained(tmp_path / "model", model.config, model.state_dict(), shard_bytes=shard_bytes)
    config, loaded = load_pretrained(tmp_path / "model")
    assert config.vocabulary == 61
    sharded = (tmp_path / "model" / "model.safetensors.index.json").exists()
    assert sharded == (shard_bytes < 1e6)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_narrower_dtype_is_stored_and_comes_back_as_fp32(tiny, tmp_path):
    model = Decoder(tiny())
    save_pretrained(tmp_path / "model", model.config, model.state_dict(), dtype=torch.bfloat16)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    _, loaded = load_pretrained(tmp_path / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.bfloat16().float())


def test_the_tokenizer_loads_in_transformers(tiny, tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate("abc")}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(tmp_path / "made.json"))
    model = Decoder(tiny())
    save_pretrained(
        tmp_path / "model",
        model.config,
        model.state_dict(),
        tokenizer_file=tmp_path / "made.json",
        end_of_text=3,
    )
    loaded = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert (loaded.encode("cab"), loaded.eos_token_id, loaded.model_max_length) == ([2, 0, 1], 3, 48)
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["eos_token_id"] == 3


def test_an_existing_directory_is_left_alone(saved):
    config, model = load_pretrained(saved)
    with pytest.raises(CheckpointError, match="exists already"):
        save_pretrained(saved, config, model.state_dict())


def test_a_failed_save_leaves_nothing(tiny, tmp_path):
    model = Decoder(tiny())
    with pytest.raises(FileNotFoundError):
        save_pretrained(
            tmp_path / "model", model.config, model.state_dict(), tokenizer_file=tmp_path / "absent"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tensor_is_named(saved):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.self_attn.k_proj.weight"]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.self_attn\.k_proj\.weight is missing"):
        load_pretrained(saved)


def test_a_wrong_shape_is_named(saved):
    file = saved / "model.safetensors"
    save_file(load_file(file) | {"model.norm.weight": torch.ones(31)}, file)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight has shape \[31\].* says \[32\]"):
        load_pretrained(saved)


def test_an_unexpected_tensor_is_named(saved):
    file = saved / "model.safetensors"
    save_file(load_file(file) | {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}, file)
    with pytest.raises(CheckpointError, match=r"q_proj\.bias has no place"):
        load_pretrained(saved)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "gpt2"),
        ("attention_bias", True),
        ("hidden_act", "gelu"),
        ("head_dim", 5),
        ("rope_parameters", {"rope_type": "yarn", "factor": 4.0}),
        ("num_attention_heads", 5),
    ],
)
def test_a_decoder_that_riverrun_does_not_have_is_refused(saved, field, value):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(CheckpointError, match=r"config\.json: "):
        load_config(saved)


def test_damaged_and_pickled_weights_are_refused(saved):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_pretrained(saved)
    file.unlink()
    torch.save({}, saved / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="never pickles"):
        load_pretrained(saved)


def test_a_directory_without_a_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        load_pretrained(tmp_path)


def test_a_config_that_is_no_object_is_refused(saved):
    (saved / "config.json").write_text("[1, 2]")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        load_config(saved)
