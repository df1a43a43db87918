"""What `compare` prints after its runs: tables, claims, what failed, where everything lies."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from riverrun.cli.grids import print_grid
from riverrun.cli.page import page_command
from riverrun.compare.arms import Design
from riverrun.compare.claims import NOTE, claims_table
from riverrun.compare.comparison import Compared
from riverrun.compare.measured import Facts, Measured, measure
from riverrun.compare.report import write_report
from riverrun.compare.verdicts import Claim
from riverrun.runs import Tree
from riverrun.runs.metrics import to_json
from riverrun.units import short_count


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
    tables, found = write_report(folder, measured)
    for grid in tables:
        print_grid(console, grid)
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
    # Where every run failed there is none.
    for tree in sorted(_trees(folder), key=lambda tree: -len(tree.nodes()))[:1]:
        console.print(f"See the largest as a page: {page_command(tree.path)}", soft_wrap=True, markup=False)
    if json:
        print(to_json(_plain(compared, measured, found)))


def _trees(folder: Path) -> list[Tree]:
    return [Tree(trunk.parent.parent) for trunk in sorted(folder.glob("*/trunk/node.json"))]


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
