"""A table as plain text cells, and its two printed forms: for the terminal and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table.

    Attributes:
        title: a line above it.
        headings: one per column; the first column names the rows.
        rows: cells, each row as long as the headings.
        marked: (row, column) of the cells that stand out as the best.
        notes: lines below it.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[tuple[int, int]] = frozenset()
    notes: tuple[str, ...] = ()


def rich_table(grid: Grid) -> Table:
    """The cells for the terminal, without title and notes, which may be wider; marked cells are bold and green."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for column, heading in enumerate(grid.headings):
        table.add_column(Text(heading), justify="right" if column else "left", no_wrap=True)
    for number, row in enumerate(grid.rows):
        table.add_row(
            *(
                Text(cell, "bold green" if (number, column) in grid.marked else "")
                for column, cell in enumerate(row)
            )
        )
    return table


def markdown_table(grid: Grid) -> str:
    """As Markdown: the title in bold, the table, a paragraph per note; marked cells are bold."""
    alignment = ["---", *["---:"] * (len(grid.headings) - 1)]
    rows = [
        [
            f"**{_escaped(cell)}**" if (number, column) in grid.marked else _escaped(cell)
            for column, cell in enumerate(row)
        ]
        for number, row in enumerate(grid.rows)
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in (map(_escaped, grid.headings), alignment, *rows)]
    return "\n\n".join([f"**{_escaped(grid.title)}**", "\n".join(lines), *map(_escaped, grid.notes)]) + "\n"


def _escaped(text: str) -> str:
    """What Markdown would read as a column's end or as emphasis, as plain characters."""
    for character in "\\|*":
        text = text.replace(character, f"\\{character}")
    return text
