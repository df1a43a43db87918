"""Hugging Face directories as inputs: safetensors in one file or in shards, any architecture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from riverrun.merge.errors import IncompleteError, MergeError
from riverrun.merge.headers import Stored, read_header
from riverrun.merge.inputs import Input
from riverrun.merge.lightning import is_lightning

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MANIFEST = "riverrun.json"

# Where training left these beside a model, they belong to that training.
_NOT_COPIED = {INDEX, MANIFEST, "trainer_state.json"}
# Pickles that the Trainer writes, and that hold no weights.
_BESIDE_WEIGHTS = ("optimizer", "rng_state", "scaler", "scheduler", "training_args")
_COPIED_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".py", ".tiktoken"}
_COPIED_NAMES = ("LICENSE", "NOTICE")


def open_directory(path: Path) -> Input:
    """The model in a Hugging Face directory; only headers are read.

    Raises:
        MergeError: the directory holds no safetensors model, a shard is missing, or a file is damaged.
    """
    if (path / "adapter_config.json").exists():
        raise MergeError(f"{path}: holds a LoRA adapter, not a model; merge it into its base model first")
    index, whole = path / INDEX, path / WEIGHTS
    if index.exists() and whole.exists():
        raise MergeError(f"{path}: has both {WEIGHTS} and {INDEX}; remove the one that is out of date")
    if index.exists():
        tensors = _read_shards(path, _json_object(index).get("weight_map"))
    elif whole.exists():
        tensors = read_header(whole)
    else:
        raise (IncompleteError if path.is_dir() else MergeError)(_nothing_to_merge(path))
    return Input(path=path, tensors=tensors, config=_config(path), position=noted_position(path))


def noted_position(path: Path) -> int | None:
    """The position that a merge of riverrun or Hugging Face's Trainer noted beside the model."""
    for name, key in ((MANIFEST, "step"), ("trainer_state.json", "global_step")):
        if (path / name).exists():
            step = _json_object(path / name).get(key)
            if isinstance(step, int) and step > 0:
                return step
    return None


def copy_description(source: Path, target: Path, dtype: str | None) -> None:
    """Copy the configuration, the tokenizer and custom code; a new `dtype` is written into config.json."""
    for file in sorted(source.iterdir()):
        wanted = file.suffix in _COPIED_SUFFIXES or file.name.startswith(_COPIED_NAMES)
        if file.is_file() and wanted and file.name not in _NOT_COPIED:
            shutil.copyfile(file, target / file.name)
    config = target / "config.json"
    if dtype is not None and config.exists():
        config.write_text(json.dumps(_with_dtype(_json_object(config), dtype), indent=2) + "\n")


def _read_shards(path: Path, places: Any) -> dict[str, Stored]:
    named = places.values() if isinstance(places, dict) else [None]
    if not all(isinstance(name, str) and Path(name).name == name for name in named):
        raise MergeError(f"{path / INDEX}: names no shards, or some elsewhere; fetch it again")
    tensors: dict[str, Stored] = {}
    for shard in sorted(set(places.values())):
        if not (path / shard).exists():
            raise MergeError(f"{path}: shard {shard} is missing, which {INDEX} names; fetch it again")
        found = read_header(path / shard)
        if twice := sorted(found.keys() & tensors.keys()):
            raise MergeError(f"{path}: {twice[0]} is in {shard} and in another shard; fetch the model again")
        tensors |= found
    for name in (*places, *tensors):
        if name not in tensors or tensors[name].file.name != places.get(name):
            raise MergeError(
                f"{path}: {INDEX} places {name} in {places.get(name, 'no shard')}, and it "
                f"{'is in ' + tensors[name].file.name if name in tensors else 'is not there'}; fetch the model again"
            )
    return tensors


def _nothing_to_merge(path: Path) -> str:
    if not path.is_dir():
        return f"{path}: {'is no directory' if path.exists() else 'there is no such directory'}"
    if (path / "node.json").exists() or (path / "trunk").exists():
        return f"{path}: is a run, not a model; name its checkpoints, as in RUN/trunk/checkpoints/00001000"
    if files := [file.name for file in sorted(path.iterdir()) if is_lightning(file)]:
        return f"{path}: holds checkpoints of Lightning ({files[0]}); name these, or this folder alone"
    if shards := sorted(path.glob("pytorch_model_fsdp*")):
        return (
            f"{path}: holds its weights as shards of FSDP ({shards[0].name}), with a pickle of what lies where, which "
            f"riverrun never loads; make a model of them: accelerate merge-weights {shards[0]} {path}"
        )
    pickles = [
        file.name
        for file in sorted(path.iterdir())
        if file.suffix in (".bin", ".pt", ".pth") and not file.name.startswith(_BESIDE_WEIGHTS)
    ]
    if pickles:
        return (
            f"{path}: holds its weights as a pickle ({pickles[0]}), which riverrun never loads; write it again as "
            "safetensors (save_pretrained of transformers does)"
        )
    return (
        f"{path}: has neither {WEIGHTS} nor {INDEX}, is no checkpoint of riverrun either, and holds no checkpoint-STEP "
        "folders or *.ckpt files"
    )


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    return _json_object(file) if file.exists() else {}


def _json_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise IncompleteError(f"{file}: cannot be read as JSON ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise MergeError(f"{file}: is no JSON object; fetch it again")
    return content


def _with_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The configuration with `dtype` wherever it or a part of it names one, and at the top in any case."""
    parts = {
        key: _with_dtype(value, dtype) if _names_dtype(value) else value for key, value in config.items()
    }
    named = [key for key in ("dtype", "torch_dtype") if key in config] or ["torch_dtype"]
    return parts | dict.fromkeys(named, dtype)


def _names_dtype(part: object) -> bool:
    return isinstance(part, dict) and not part.keys().isdisjoint(("dtype", "torch_dtype"))
