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
        readout: raw, ema-25, ..., or best, the one with the lowest held-out loss; where the run keeps a history, any
            profile, such as tail:0.2 (see average).
        at: position of a checkpoint in steps; the latest if not given.
        out: where to write; readouts/READOUT-STEP in the node's folder if not given. Must not exist.
        dtype: of the stored weights.
    """
    import sys

    from riverrun.cli.model_directory import free_directory, write_model
    from riverrun.runs import Tree
    from riverrun.train.restore import restore_readout

    source = Tree.open(run).node(node)
    restored = restore_readout(source, readout, at, note=lambda text: print(text, file=sys.stderr))
    target = free_directory(out or source.path / "readouts" / f"{restored.name}-{restored.step:08d}")
    facts = {"made": "export", "node": source.id, "readout": restored.name, "step": restored.step}
    write_model(target, restored.model, restored.tokenizer, dtype, facts)
    print(target)
