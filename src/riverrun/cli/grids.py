"""A table on the terminal, with its title above and its notes below."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from riverrun.cli.summary import print_whole
from riverrun.grid import Grid, rich_table


def print_grid(console: Console, grid: Grid) -> None:
    """Print a grid and an empty line; a table wider than the console is not cut."""
    console.print(Text(grid.title, "italic"))
    print_whole(console, rich_table(grid))
    for note in grid.notes:
        console.print(Text(note, "dim"))
    console.print()
