"""A model as a directory in Hugging Face format, where a command was told to put it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from riverrun.data import Tokenizer
    from riverrun.models import Decoder

Dtype = Literal["float32", "bfloat16"]


def free_directory(target: Path) -> Path:
    """The directory to write; told at once where something is there already."""
    from riverrun.errors import SettingError

    if target.exists():
        raise SettingError(f"--out {target}: exists already; name another directory or remove it")
    return target


def write_model(
    target: Path, model: Decoder, tokenizer: Tokenizer, dtype: Dtype, facts: Mapping[str, Any] | None = None
) -> None:
    """Write weights, configuration and tokenizer; `facts` say where the weights come from."""
    import tempfile

    import torch
    from safetensors import SafetensorError

    from riverrun.errors import SettingError
    from riverrun.models.hugging_face import save_pretrained

    try:
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer_file = Path(scratch) / "tokenizer.json"
            tokenizer.save(tokenizer_file)
            save_pretrained(
                target,
                model.config,
                model.state_dict(),
                tokenizer_file=tokenizer_file,
                end_of_text=tokenizer.end_of_text,
                dtype=getattr(torch, dtype),
                facts=facts,
            )
    except (OSError, SafetensorError) as error:
        raise SettingError(
            f"--out {target}: cannot be written ({error}); make room, or name another directory"
        ) from None
