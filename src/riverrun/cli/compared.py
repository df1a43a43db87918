"""What `compare` prints: the cost before, progress on the way, tables and claims after."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from riverrun.cli.summary import print_whole
from riverrun.compare.arms import Design
from riverrun.compare.claims import NOTE, claims, claims_table
from riverrun.compare.comparison import Compared, expected_tokens
from riverrun.compare.cost import Cost
from riverrun.compare.grid import rich_table
from riverrun.compare.measured import Facts, Measured, measure
from riverrun.compare.report import write_report
from riverrun.compare.runs import Run, tokens_of
from riverrun.compare.table import grids
from riverrun.compare.verdicts import Claim
from riverrun.runs.metrics import to_json
from riverrun.units import short_bytes, short_count, short_time


def print_cost(console: Console, design: Design, cost: Cost, json: bool) -> None:
    """Runs, tokens, time and disk of a plan."""
    if json:
        from dataclasses import asdict

        print(to_json({**asdict(cost), "seconds": cost.seconds}))
        return
    plan, total = design.plan, cost.tokens + cost.repeated_tokens
    again = (
        f", and at least {cost.repeated_runs:,} of chosen points on other seeds" if cost.repeated_runs else ""
    )
    points = sum(len(plan.points(arm)) for arm in plan.arms)
    rows = {
        "arms": f"{len(plan.arms)}: {', '.join(plan.arms)}",
        "budgets": ", ".join(
            f"{budget} ({step:,} steps)" if budget.unit != "steps" else str(budget)
            for budget, step in zip(plan.budgets, design.budgets, strict=True)
        ),
        "sweep": f"{points} points in all, on seeds {', '.join(map(str, plan.tuned_on))}",
        "runs": f"{cost.runs:,}{again}",
        "tokens": f"{short_count(total)}, instead of {short_count(cost.alone)} without shared trunks "
        f"({1 - total / cost.alone:.0%} saved)",
        "time": f"{short_time(cost.seconds)} with {cost.workers} workers on this machine",
        "disk": short_bytes(cost.disk),
    }
    for name, text in rows.items():
        console.print(f"{name:8s} {text}", soft_wrap=True, markup=False)


class Told:
    """Tells of runs as they end: a bar on a terminal, a line each elsewhere."""

    def __init__(self, console: Console, design: Design, quiet: bool) -> None:
        self._console = console
        self._vocabulary = design.vocabulary
        self._quiet = quiet
        columns = (
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._bar = Progress(
            *columns, console=console, transient=True, disable=quiet or not console.is_terminal
        )
        self._goal = expected_tokens(design)
        self._task = self._bar.add_task("starting", total=self._goal)
        self._tokens = 0
        self._runs = 0

    def __enter__(self) -> Told:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, run: Run, what: str) -> None:
        """Note how a run ended."""
        if self._quiet:
            return
        if what == "done":
            self._runs += 1
            self._tokens += tokens_of(run, self._vocabulary)
        gone = f"{self._runs} runs, {short_count(self._tokens)} of {short_count(self._goal)} tokens"
        self._bar.update(self._task, completed=self._tokens, description=gone)
        if what != "done" or not self._console.is_terminal:
            self._console.print(f"{gone}: {run.tree}/{run.node} {what}", soft_wrap=True, markup=False)


def print_report(
    console: Console, folder: Path, design: Design, compared: Compared, *, name: str, command: str, json: bool
) -> None:
    """Write the report; print its tables and claims, what failed, what sharing saved, where everything lies.

    With `json`, all of it as one object on standard output too.
    """
    plan = design.plan
    facts = Facts(
        name=name,
        budgets=tuple(map(str, plan.budgets)),
        baseline=plan.baseline,
        tolerance=plan.tolerance,
        tuning_seeds=plan.tuned_on,
        hardware=_hardware(),
        command=command,
    )
    measured = measure(design.methods(), compared.results, facts)
    found = claims(measured)
    write_report(folder, measured)
    for grid in grids(measured):
        console.print(Text(grid.title, "italic"))
        print_whole(console, rich_table(grid))
        for note in grid.notes:
            console.print(Text(note, "dim"))
        console.print()
    if found:
        console.print(claims_table(found))
        console.print(Text(f"{NOTE}\n", "dim"))
    for key, why in compared.failures.items():
        console.print(f"failed: {'/'.join(key)}: {why}", soft_wrap=True, markup=False)
    for key, why in compared.retries.items():
        if key not in compared.failures:
            console.print(f"failed at first, then done: {'/'.join(key)}: {why}", soft_wrap=True, markup=False)
    console.print(
        f"Trained on {short_count(compared.tokens)} tokens, instead of {short_count(compared.alone)} without shared "
        f"trunks ({1 - compared.tokens / compared.alone:.0%} saved).\n"
        f"Saved in {folder}: table.md, claims.md, results.csv, figure.png, and every run as a tree of its own.",
        soft_wrap=True,
        markup=False,
    )
    if json:
        print(to_json(_plain(compared, measured, found)))


def _plain(compared: Compared, measured: Measured, found: Sequence[Claim]) -> dict[str, Any]:
    left_out = ("curve", "lrs", "before_decay")
    return {
        "claims": [vars(claim) for claim in found],
        "choices": [
            {
                "method": choice.method,
                "budget": choice.budget,
                "point": dict(choice.point),
                "edges": [vars(edge) for edge in choice.edges],
            }
            for choice in measured.choices
        ],
        "tokens": compared.tokens,
        "alone": compared.alone,
        "failures": {"/".join(key): why for key, why in compared.failures.items()},
        "retries": {"/".join(key): why for key, why in compared.retries.items()},
        "results": [
            {
                name: dict(value) if name == "point" else value
                for name, value in vars(result).items()
                if name not in left_out
            }
            for result in compared.results
        ],
    }


def _hardware() -> str:
    """The machine in words."""
    cpuinfo = Path("/proc/cpuinfo")  # where there is none, the architecture must do
    models = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else []
    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    processor = models[0] if models else platform.machine()
    parts = [f"{os.cpu_count()} cores, {processor}", *devices]
    return f"{', '.join(parts)}; Python {platform.python_version()}, torch {torch.__version__}"
