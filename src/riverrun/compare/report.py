"""What a comparison leaves in its folder: results.csv, table.md, figure.png, claims.md."""

from __future__ import annotations

from pathlib import Path

from riverrun.compare.claims import claims, claims_markdown
from riverrun.compare.figure import save_figure
from riverrun.compare.grid import markdown_table
from riverrun.compare.measured import Measured
from riverrun.compare.spreadsheet import results_csv
from riverrun.compare.table import grids
from riverrun.publish import publish_file


def write_report(folder: Path, measured: Measured) -> None:
    """Write the four files, each whole or not at all; the same results give the same bytes.

    Without any settings chosen there is no figure.
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
    tables = "\n".join(map(markdown_table, grids(measured)))
    found = claims_markdown(claims(measured))
    folder.mkdir(parents=True, exist_ok=True)
    publish_file(folder / "results.csv", results_csv(measured).encode())
    publish_file(folder / "table.md", f"# {facts.name}\n\n{made_by}{tables}".encode())
    publish_file(folder / "claims.md", f"# {facts.name}: claims\n\n{made_by}{found}".encode())
    if measured.choices:
        save_figure(folder / "figure.png", measured)
