"""What a comparison leaves in its folder: results.csv, table.md, figure.png, claims.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import RenderableType

from riverrun.compare.claims import claims, claims_markdown, claims_table
from riverrun.compare.figure import save_figure
from riverrun.compare.grid import markdown_table, rich_table
from riverrun.compare.measured import Facts, measure
from riverrun.compare.results import Method, Result
from riverrun.compare.spreadsheet import results_csv
from riverrun.compare.table import grids
from riverrun.publish import publish_file


def write_report(
    folder: Path, methods: Iterable[Method], results: Iterable[Result], facts: Facts
) -> list[RenderableType]:
    """Write the four files, each whole or not at all; the same results give the same bytes.

    Without any settings chosen there is no figure.

    Returns:
        The tables and the claims for the terminal.

    Raises:
        ValueError: see `measure`.
    """
    measured = measure(methods, results, facts)
    tables, found = grids(measured), claims(measured)
    made_by = "".join(
        f"{what}: {text}\n\n"
        for what, text in (
            ("Command", f"`{facts.command}`" if facts.command else ""),
            ("Hardware", facts.hardware),
        )
        if text
    )
    folder.mkdir(parents=True, exist_ok=True)
    publish_file(folder / "results.csv", results_csv(measured).encode())
    publish_file(
        folder / "table.md",
        (f"# {facts.name}\n\n{made_by}" + "\n".join(map(markdown_table, tables))).encode(),
    )
    publish_file(
        folder / "claims.md", f"# {facts.name}: claims\n\n{made_by}{claims_markdown(found)}".encode()
    )
    if measured.choices:
        save_figure(folder / "figure.png", measured)
    return [*map(rich_table, tables), claims_table(found)]
