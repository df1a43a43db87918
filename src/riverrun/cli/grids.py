"""A table on the terminal, with its title above and its notes below."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.text import Text

from riverrun.cli.summary import print_whole
from riverrun.grid import Grid, rich_table


def print_grid(console: Console, grid: Grid) -> None:
    """Print a grid and an empty line; a table wider than the console is not cut."""
    _print_parts(console, grid, [grid])


def print_folded_grid(console: Console, grid: Grid) -> None:
    """As `print_grid`, but columns that have no room go into further tables below, each with the rows' names."""
    width = [max(len(row[at]) for row in (grid.headings, *grid.rows)) + 2 for at in range(len(grid.headings))]
    room = console.width - width[0]
    parts: list[list[int]] = [[]]
    for column in range(1, len(grid.headings)):
        if parts[-1] and sum(width[at] for at in (*parts[-1], column)) > room:
            parts.append([])
        parts[-1].append(column)
    _print_parts(console, grid, [_columns(grid, [0, *part]) for part in parts])


def _columns(grid: Grid, kept: list[int]) -> Grid:
    return replace(
        grid,
        headings=tuple(grid.headings[at] for at in kept),
        rows=tuple(tuple(row[at] for at in kept) for row in grid.rows),
        marked=frozenset((row, kept.index(at)) for row, at in grid.marked if at in kept),
    )


def _print_parts(console: Console, grid: Grid, parts: list[Grid]) -> None:
    console.print(Text(grid.title, "italic"))
    for number, part in enumerate(parts):
        if number:
            console.print()
        print_whole(console, rich_table(part))
    for note in grid.notes:
        console.print(Text(note, "dim"))
    console.print()
