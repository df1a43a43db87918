"""Hugging Face model directories: config.json, safetensors, tokenizer files. No pickled code, in or out.

The llama family is written as `LlamaForCausalLM` and loads in transformers. No architecture there is exactly
the olmo family (LayerNorm without bias, plain GELU, QK-norm over the whole projected width), so it keeps the
same layout under the model type "riverrun-olmo", with riverrun's own tensor names, for riverrun to load.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from riverrun.errors import CheckpointError
from riverrun.models.config import DecoderConfig
from riverrun.models.decoder import Decoder
from riverrun.publish import published_directory

OLMO_TYPE = "riverrun-olmo"
FACTS_FILE = "riverrun.json"
"""What riverrun says of a directory that it wrote: where the weights come from."""


def save_pretrained(
    directory: str | Path,
    config: DecoderConfig,
    tensors: Mapping[str, Tensor],
    *,
    tokenizer_file: str | Path | None = None,
    end_of_text: int | None = None,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = 5_000_000_000,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a model directory, which appears whole or not at all.

    Args:
        directory: where to write.
        config: the decoder's shape.
        tensors: whole tensors under the names of `Decoder.state_dict()`.
        tokenizer_file: a `tokenizer.json` to put beside the weights.
        end_of_text: the id that ends a document, for transformers' generation.
        dtype: of the written tensors.
        shard_bytes: largest size of one safetensors file; more go to numbered shards with an index.
        facts: where the weights come from, for riverrun.json beside them.

    Raises:
        CheckpointError: `directory` exists.
    """
    directory = Path(directory)
    if directory.exists():
        raise CheckpointError(f"{directory}: exists already; choose another directory, or remove it.")
    named: dict[str, Tensor] = {}
    for name, parts in stored_parts(config).items():
        pieces = tensors[name].detach().to("cpu", dtype).split_with_sizes(list(parts.values()))
        named |= zip(parts, pieces, strict=True)
    with published_directory(directory) as aside:
        write_description(aside, config, tokenizer_file=tokenizer_file, end_of_text=end_of_text, dtype=dtype)
        if facts is not None:
            _write_json(aside / FACTS_FILE, facts)
        _write_tensors(aside, named, shard_bytes)


def write_description(
    directory: Path,
    config: DecoderConfig,
    *,
    tokenizer_file: str | Path | None = None,
    end_of_text: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write what a model directory has beside the tensors; the arguments are those of `save_pretrained`."""
    ending = {} if end_of_text is None else {"eos_token_id": end_of_text}
    stored_as = {"dtype": str(dtype).removeprefix("torch.")}
    _write_json(directory / "config.json", _describe(config) | ending | stored_as)
    _write_json(directory / "generation_config.json", ending | {"do_sample": True})
    if tokenizer_file is not None:
        shutil.copyfile(tokenizer_file, directory / "tokenizer.json")
        _write_json(
            directory / "tokenizer_config.json",
            _describe_tokenizer(directory / "tokenizer.json", config, end_of_text),
        )


def load_pretrained(directory: str | Path) -> tuple[DecoderConfig, Decoder]:
    """Read a model directory that riverrun or transformers wrote; the weights come back in fp32 on the CPU.

    Raises:
        CheckpointError: the directory, a file or a tensor is missing, damaged or of the wrong shape, or the
            architecture is not one that riverrun has.
    """
    directory = Path(directory)
    config = load_config(directory)
    stored = _read_tensors(directory)
    model = Decoder(config, seed=None)
    for name, parts in stored_parts(config).items():
        target = model.get_parameter(name)
        for part, rows in parts.items():
            _check(directory, stored, part, [rows, *target.shape[1:]])
        joined = torch.cat([stored.pop(part) for part in parts])
        target.data.copy_(joined)
    # Older files keep the rotary frequencies, and a second copy of a tied embedding.
    ignored = ("rotary_emb.inv_freq", *(["lm_head.weight"] if config.tied else []))
    if unknown := [name for name in stored if not name.endswith(ignored)]:
        raise CheckpointError(
            f"{directory}: tensor {unknown[0]} has no place in riverrun's {config.family} decoder."
        )
    return config, model


def load_config(directory: str | Path) -> DecoderConfig:
    """The decoder's shape from the config.json of a model directory.

    Raises:
        CheckpointError: no config.json, or one of an architecture that riverrun does not have.
    """
    path = Path(directory) / "config.json"
    try:
        fields = dict(json.loads(path.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a model's configuration ({error}).") from error
    kind = fields.pop("model_type", None)
    try:
        if kind == OLMO_TYPE:
            return DecoderConfig.from_dict(fields["decoder"])
        if kind == "llama":
            return _llama_config(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a decoder that riverrun has: {error}") from error
    raise CheckpointError(f'{path}: model_type is {kind!r}; riverrun loads "llama" and "{OLMO_TYPE}".')


def stored_parts(config: DecoderConfig) -> dict[str, dict[str, int]]:
    """For each tensor of `Decoder.state_dict()`, the names and numbers of rows of the pieces stored for it.

    The olmo family is stored as it is. LlamaForCausalLM keeps queries, keys, values, gate and up apart.
    """
    width, rows, mlp = config.width, config.rows, config.mlp_width
    if config.family == "olmo":
        with torch.device("meta"):
            tensors = Decoder(config, seed=None).state_dict()
        return {name: {name: len(tensor)} for name, tensor in tensors.items()}
    shared = config.key_value_heads * config.head_width
    parts = {
        "embedding.weight": {"model.embed_tokens.weight": rows},
        "norm.weight": {"model.norm.weight": width},
    }
    if not config.tied:
        parts["unembedding.weight"] = {"lm_head.weight": rows}
    for layer in range(config.layers):
        block = {
            "attention_norm": {"input_layernorm": width},
            "attention.query_key_value": {
                "self_attn.q_proj": width,
                "self_attn.k_proj": shared,
                "self_attn.v_proj": shared,
            },
            "attention.output": {"self_attn.o_proj": width},
            "mlp_norm": {"post_attention_layernorm": width},
            "mlp.gate_up": {"mlp.gate_proj": mlp, "mlp.up_proj": mlp},
            "mlp.down": {"mlp.down_proj": width},
        }
        for name, pieces in block.items():
            parts[f"blocks.{layer}.{name}.weight"] = {
                f"model.layers.{layer}.{piece}.weight": size for piece, size in pieces.items()
            }
    return parts


def _check(directory: Path, stored: Mapping[str, Tensor], name: str, shape: list[int]) -> None:
    if name not in stored:
        raise CheckpointError(
            f"{directory}: tensor {name} is missing; the export is incomplete, make it again."
        )
    if list(stored[name].shape) != shape:
        raise CheckpointError(
            f"{directory}: tensor {name} has shape {list(stored[name].shape)}, and config.json says {shape}; "
            "weights and configuration belong to different models."
        )


def _describe(config: DecoderConfig) -> dict[str, Any]:
    """The content of config.json."""
    if config.family == "olmo":
        return {"model_type": OLMO_TYPE, "architectures": ["RiverrunOlmo"], "decoder": config.to_dict()}
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.rows,
        "tokens_in_vocabulary": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_width,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,  # where transformers 4 reads it; version 5 reads the next
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": config.tied,
        "bos_token_id": None,
    }


def _llama_config(fields: Mapping[str, Any]) -> DecoderConfig:
    """The shape that a LlamaForCausalLM's config.json describes, with transformers' defaults."""
    heads = fields["num_attention_heads"]
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    required = {
        "hidden_act": (fields.get("hidden_act", "silu"), "silu"),
        "attention_bias": (fields.get("attention_bias", False), False),
        "mlp_bias": (fields.get("mlp_bias", False), False),
        "head_dim": (
            fields.get("head_dim") or fields["hidden_size"] // heads,
            fields["hidden_size"] // heads,
        ),
        "rope_type": (rope.get("rope_type", rope.get("type", "default")), "default"),
    }
    for name, (found, needed) in required.items():
        if found != needed:
            raise ValueError(f"{name} is {found!r}; riverrun's llama needs {needed!r}.")
    return DecoderConfig(
        family="llama",
        layers=fields["num_hidden_layers"],
        width=fields["hidden_size"],
        heads=heads,
        context=fields.get("max_position_embeddings", 2048),
        vocabulary=fields.get("tokens_in_vocabulary", fields["vocab_size"]),
        kv_heads=fields.get("num_key_value_heads"),
        mlp=fields["intermediate_size"],
        tied=fields.get("tie_word_embeddings", False),
        embedding_rows=fields["vocab_size"],
        rope_theta=rope.get("rope_theta", fields.get("rope_theta", 10_000.0)),
        norm_eps=fields.get("rms_norm_eps", 1e-6),
    )


def _describe_tokenizer(path: Path, config: DecoderConfig, end_of_text: int | None) -> dict[str, Any]:
    """The content of tokenizer_config.json, beside the tokenizer.json at `path`."""
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.context}
    for token in json.loads(path.read_text())["added_tokens"]:
        if token["id"] == end_of_text:
            described["eos_token"] = token["content"]
    return described


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def _write_tensors(directory: Path, tensors: Mapping[str, Tensor], shard_bytes: int) -> None:
    """Write model.safetensors, or an index and numbered shards of `shard_bytes` or one larger tensor."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.contiguous()
        size += tensor.nbytes
    # transformers refuses a file without this mark.
    mark = {"format": "pt"}
    if len(shards) == 1:
        save_file(shards[0], directory / "model.safetensors", metadata=mark)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, directory / file, metadata=mark)
        places |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    _write_json(
        directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places}
    )


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    """Every tensor of model.safetensors, or of the shards that model.safetensors.index.json names."""
    index = directory / "model.safetensors.index.json"
    files = ["model.safetensors"]
    try:
        if index.is_file():
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        return {name: tensor for file in files for name, tensor in load_file(directory / file).items()}
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{directory}: the weights cannot be read ({error}); riverrun reads safetensors, never pickles."
        ) from error
