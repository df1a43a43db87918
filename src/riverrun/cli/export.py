"""`riverrun export`: a readout as a Hugging Face directory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def export(
    run: Positional[Path],
    *,
    node: str = "trunk",
    readout: str = "best",
    at: int | None = None,
    out: Path | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """Write a readout in Hugging Face format; llama models load with transformers' AutoModelForCausalLM.

    Args:
        run: directory of the run.
        node: trunk, or the name of a branch.
        readout: raw, ema-25, ..., or best, the one with the lowest held-out loss.
        at: position of a checkpoint in steps; the latest if not given.
        out: where to write; readouts/READOUT-STEP in the node's folder if not given. Must not exist.
        dtype: of the stored weights.
    """
    import sys
    import tempfile

    import torch
    from safetensors import SafetensorError

    from riverrun.errors import SettingError
    from riverrun.models.hugging_face import save_pretrained
    from riverrun.runs import Tree
    from riverrun.train.restore import restore_readout

    source = Tree.open(run).node(node)
    restored = restore_readout(source, readout, at, note=lambda text: print(text, file=sys.stderr))
    target = out or source.path / "readouts" / f"{restored.name}-{restored.checkpoint.step:08d}"
    if target.exists():
        raise SettingError(f"--out {target}: exists already; name another directory or remove it")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer_file = Path(scratch) / "tokenizer.json"
            restored.tokenizer.save(tokenizer_file)
            save_pretrained(
                target,
                restored.model.config,
                restored.model.state_dict(),
                tokenizer_file=tokenizer_file,
                end_of_text=restored.tokenizer.end_of_text,
                dtype=getattr(torch, dtype),
            )
    except (OSError, SafetensorError) as error:
        raise SettingError(
            f"--out {target}: cannot be written ({error}); make room, or name another directory"
        ) from None
    print(target)
