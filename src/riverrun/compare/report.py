"""What a comparison leaves in its folder: results.csv, table.md, figure.png, claims.md."""

from __future__ import annotations

from pathlib import Path

from riverrun.compare.claims import claims, claims_markdown
from riverrun.compare.figure import save_figure
from riverrun.compare.measured import Measured
from riverrun.compare.spreadsheet import results_csv
from riverrun.compare.table import grids
from riverrun.compare.verdicts import Claim
from riverrun.grid import Grid, markdown_table
from riverrun.publish import publish_file


def write_report(folder: Path, measured: Measured) -> tuple[list[Grid], list[Claim]]:
    """Write the four files, each whole or not at all; the same results give the same bytes.

    Without any settings chosen there is no figure.

    Returns:
        The tables and the claims in them.
    """
    facts = measured.facts
    made_by = "".join(
        f"{what}: {text}\n\n"
        for what, text in (
            ("Command", f"`{facts.command}`" if facts.command else ""),
            ("Hardware", facts.hardware),
        )
        if text
    )
    tables, found = grids(measured), claims(measured)
    written = "\n".join(map(markdown_table, tables))
    folder.mkdir(parents=True, exist_ok=True)
    publish_file(folder / "results.csv", results_csv(measured).encode())
    publish_file(folder / "table.md", f"# {facts.name}\n\n{made_by}{written}".encode())
    publish_file(
        folder / "claims.md", f"# {facts.name}: claims\n\n{made_by}{claims_markdown(found)}".encode()
    )
    if measured.choices:
        save_figure(folder / "figure.png", measured)
    return tables, found
