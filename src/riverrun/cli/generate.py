"""`riverrun generate`: let a readout write."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional


def generate(
    run: Positional[Path],
    *,
    prompt: str = "",
    node: str = "trunk",
    readout: str = "best",
    at: int | None = None,
    tokens: int = 300,
    temperature: float = 0.8,
    top_k: int | None = None,
    seed: int = 0,
) -> None:
    """Write text with a model of a run, as it comes.

    Args:
        run: directory of the run.
        prompt: what to continue; empty starts a new document.
        node: trunk, or the name of a branch.
        readout: raw, ema-25, ..., or best, the one with the lowest held-out loss.
        at: position of a checkpoint in steps; the latest if not given.
        tokens: at most so many.
        temperature: 0 always takes the most likely token.
        top_k: choose among the k most likely tokens only.
        seed: the same seed writes the same text.
    """
    import sys

    from riverrun.errors import SettingError
    from riverrun.models.generate import generate as continue_text
    from riverrun.runs import Tree
    from riverrun.train.restore import restore_readout

    if not 0 <= seed < 2**63:
        raise SettingError(f"--seed: got {seed}; must be a whole number from 0 to 2^63 - 1")
    restored = restore_readout(
        Tree.open(run).node(node), readout, at, note=lambda text: print(text, file=sys.stderr)
    )
    tokenizer = restored.tokenizer
    ids = list(tokenizer.encode(prompt)) or [tokenizer.end_of_text]
    try:
        continued = continue_text(
            restored.model,
            ids,
            tokens,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
            stop=(tokenizer.end_of_text,),
        )
    except ValueError as error:
        setting, _, complaint = str(error).partition(":")
        option = setting.removeprefix("max_").replace("_", "-")
        raise SettingError(f"--{option}:{complaint}") from None
    print(prompt, end="", flush=True)
    written: list[int] = []
    shown = ""
    for token in continued:
        written.append(token)
        text = tokenizer.decode(written)
        # A character of several bytes is complete only when its last one has come.
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            print(text[len(shown) :], end="", flush=True)
            shown = text
    print(tokenizer.decode(written)[len(shown) :])
