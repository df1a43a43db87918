"""The page in a run's folder: written at the end of what trained the run, and named."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from riverrun.errors import RiverrunError
from riverrun.publish import publish_file
from riverrun.report.facts import page_facts
from riverrun.report.page import render
from riverrun.report.schema import Page
from riverrun.runs import Tree
from riverrun.train.commands import program

_QUICK_BYTES = 10_000_000
"""Records of no more than this become a page in about a second, on one core."""
_QUICK_UPDATES = 50_000
"""On the ways to all nodes together; a forecast is fitted to no more than these in about two seconds."""


def page_path(run: Path) -> Path:
    """Where the page of a run lies if nothing else is asked for."""
    return run / "report.html"


def page_command(run: Path) -> str:
    """The command that writes it."""
    return shlex.join([program(), "report", str(run)])


def write_page(path: Path, facts: Page) -> int:
    """Write a page, whole or not at all; returns its size in bytes."""
    content = render(facts).encode()
    publish_file(path, content)
    return len(content)


def print_page(console: Console, run: Path) -> None:
    """Write the page of a run and name it; what would take long is left out, and where the records are long all of it.

    What goes wrong is told in one line: the training went well, and must not seem to have failed.
    """
    text = f"See it as a page: {page_command(run)}"
    try:
        if sum(record.stat().st_size for record in run.glob("**/metrics.jsonl")) <= _QUICK_BYTES:
            tree = Tree.open(run)
            write_page(page_path(run), page_facts(tree, forecast=_updates(tree) <= _QUICK_UPDATES))
            text = f"See it as a page: {page_path(run)}"
    except Exception as error:
        why = str(error) if isinstance(error, RiverrunError) else f"{type(error).__name__}: {error}"
        text = f"Its page could not be written ({why}); to try again: {page_command(run)}"
    console.print(text, soft_wrap=True, markup=False)


def _updates(tree: Tree) -> int:
    """On the ways to all nodes together, by their checkpoints: training that ends leaves one."""
    return sum(max((saved.step for saved in node.checkpoints()), default=0) for node in tree.nodes())
