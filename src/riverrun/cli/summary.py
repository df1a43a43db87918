"""What `train` prints before and after: what is trained, the table of readouts, a sample, what to try next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from riverrun.cli.page import print_page
from riverrun.runs.metrics import Record
from riverrun.train import Outcome
from riverrun.train.commands import program
from riverrun.train.readouts import best_readout, readout_names
from riverrun.train.restore import restore_readout
from riverrun.units import short_count

_SAMPLE_TOKENS = 240
_PROMPT_TOKENS = 24


def summary(outcome: Outcome) -> dict[str, Any]:
    """The readouts and where they are, as plain data."""
    readouts = outcome.node.readouts()
    return {
        "run": str(outcome.node.path.parent),
        "step": outcome.step,
        "tokens": outcome.tokens,
        "readouts": readouts,
        "best": best_readout(readouts[-1]) if readouts else None,
    }


def print_summary(console: Console, outcome: Outcome, recipe: Path, overrides: Iterable[str] = ()) -> None:
    """The table of readouts, a few lines that the best one writes, where everything lies, what to try next."""
    run = outcome.node.path.parent
    readouts = outcome.node.readouts()
    if readouts:
        print_whole(console, readout_table(readouts, outcome.plan.tokens_per_x))
        console.print(f"\n{_sentence(readouts[-1])}\n")
        # Weights that score no number write no text, and after a signal there is no time for it.
        if not outcome.exit_code and math.isfinite(readouts[-1][f"loss/{best_readout(readouts[-1])}"]):
            _print_sample(console, outcome)
    console.print(f"Saved in {run}: {_contents(outcome)}.", soft_wrap=True, markup=False)
    if outcome.exit_code:
        console.print(f"Interrupted at step {outcome.step:,}; the same command goes on from there.")
        return
    print_page(console, run)
    console.print("Next, write with the best model, or go on to a longer budget; nothing so far will change:")
    write = [program(), "generate", str(run), "--prompt", "The state of the union is"]
    option = [] if run == Path("runs") / recipe.stem else ["--run", str(run)]
    settings = [word for override in overrides for word in ("--set", override)]
    go_on = [program(), "train", str(recipe), *option, *settings, "--until", twice(outcome)]
    for command in (write, go_on):
        console.print(f"  {shlex.join(command)}", soft_wrap=True, markup=False)


def twice(outcome: Outcome) -> str:
    """Twice the tokens so far, as --until takes it: in multiples of 1x where three digits can say it."""
    multiple = 2 * outcome.tokens / outcome.plan.tokens_per_x
    return f"{multiple:.3g}x" if 0.001 <= multiple < 999.5 else f"{2 * outcome.tokens} tokens"


def print_whole(console: Console, table: RenderableType) -> None:
    """Print a table at its full width: a wrapped line still has every digit, a cut one has not."""
    usual = console.width
    needed = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    console.width = max(usual, needed)
    console.print(table, crop=False)
    console.width = usual


def readout_table(readouts: list[Record], tokens_per_x: int) -> Table:
    """Position, held-out loss and bits per byte of raw and each track, and the gain of the best over raw."""
    names = readout_names(readouts[-1])
    table = Table(
        title="Held-out loss in nats per token (bits per byte)",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for heading in ("step", "tokens", "budget", *names, "gain"):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in readouts:
        best = best_readout(record)
        losses = [
            Text(
                f"{record[f'loss/{name}']:.4f} ({record[f'bpb/{name}']:.3f})",
                "bold green" if name == best else "",
            )
            if f"loss/{name}" in record
            else Text("-")
            for name in names
        ]
        table.add_row(
            f"{record['step']:,}",
            short_count(record["tokens"]),
            f"{record['tokens'] / tokens_per_x:.3g}x",
            *losses,
            f"{record['loss/raw'] - record[f'loss/{best}']:.4f}",
        )
    return table


def _sentence(record: Record) -> str:
    best = best_readout(record)
    loss = f"{record[f'loss/{best}']:.4f} nats per token"
    if best == "raw":
        return f"The best model at step {record['step']:,} is the raw weights, at {loss}."
    gain = record["loss/raw"] - record[f"loss/{best}"]
    return (
        f"The best model at step {record['step']:,} is the average {best}, at {loss}: "
        f"{gain:.4f} better than the raw weights, for no further training."
    )


def _print_sample(console: Console, outcome: Outcome) -> None:
    from riverrun.data import held_out
    from riverrun.models.generate import generate

    readout = restore_readout(outcome.node, note=lambda text: None)
    window = held_out(readout.corpus, "validation", outcome.plan.decoder.context, 1).tokens[0]
    prompt = window[:_PROMPT_TOKENS].tolist()
    continued = list(generate(readout.model, prompt, _SAMPLE_TOKENS, temperature=0.7, seed=0))
    text = Text(readout.tokenizer.decode(prompt), style="bold")
    text.append(readout.tokenizer.decode(continued), style="not bold")
    console.print(f"What {readout.name} writes after a held-out beginning (in bold):")
    console.print(text, "\n")


def _contents(outcome: Outcome) -> str:
    checkpoints = [f"{checkpoint.step:,}" for checkpoint in outcome.node.checkpoints()]
    return (
        f"trunk/metrics.jsonl, and checkpoints of step {', '.join(checkpoints)}"
        if checkpoints
        else "nothing yet"
    )
