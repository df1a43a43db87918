"""`riverrun train`: start a trunk or go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction


def train(
    recipe: Positional[Path],
    *,
    run: Path | None = None,
    until: str | None = None,
    set_: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Start an open-ended run, or go on with it; the same command resumes after any interruption.

    Args:
        recipe: a TOML file, or the name of a shipped recipe such as quickstart.
        run: directory of the run; runs/RECIPE if not given.
        until: stop at "500 steps", "65M tokens", "2x" (1x is 20 tokens per parameter) or "next 1x", the next
            whole multiple. Without it, train until interrupted. No schedule sees this value.
        set_: override a setting, as in --set optimizer.peak_lr=2e-3; may be given several times.
        quiet: say nothing.
        json: print the readouts as one JSON object on standard output, all else on standard error.
    """
    from riverrun.cli.console import PatientConsole, speaks
    from riverrun.cli.summary import print_summary, summary
    from riverrun.train import Quiet, Shown, load_recipe
    from riverrun.train import train as train_trunk
    from riverrun.train.shipped import find_recipe

    path = find_recipe(recipe)
    run = run or Path("runs") / path.stem
    quiet, json = quiet or not speaks(), json and speaks()
    console = PatientConsole(stderr=json, quiet=quiet, highlight=False)
    outcome = train_trunk(load_recipe(path, set_), run, until, progress=Quiet() if quiet else Shown(console))
    if json:
        from riverrun.runs.metrics import to_json

        print(to_json(summary(outcome)))
    if not quiet:
        print_summary(console, outcome, recipe, set_)
    return outcome.exit_code
