"""The table and the claims of the comparison that a tree is one run of.

A comparison keeps each of its trees in a folder beside its table.md and claims.md (`riverrun.compare.report`).
"""

from __future__ import annotations

import re
from pathlib import Path

from riverrun.report import schema
from riverrun.runs import Tree

_CELL_END = re.compile(r"(?<!\\)\|")
_CLAIM = re.compile(r"^- \*\*(holds|fails|undecided)\*\*: (.*)\.\n  (.*)$", re.MULTILINE)


def comparison(tree: Tree) -> schema.Comparison | None:
    """The first of its tables, the losses by method and budget; None where no comparison's files lie beside a tree.

    Of a claim, `name` is what it says and `statement` the numbers that it is decided by.
    """
    folder = tree.path.resolve().parent
    table, claims = _text(folder / "table.md"), _text(folder / "claims.md")
    if table is None or claims is None:
        return None
    rows = _first_table(table)
    if len(rows) < 2:
        return None
    return {
        "columns": rows[0],
        "rows": rows[1:],
        "claims": [
            {"name": statement, "statement": evidence, "verdict": verdict}
            for verdict, statement, evidence in _CLAIM.findall(claims)
        ],
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _first_table(text: str) -> list[list[str]]:
    """The cells of a Markdown table as plain text, the headings first."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("| "):
            rows.append([_plain(cell) for cell in _CELL_END.split(line)[1:-1]])
        elif rows:
            break
    return rows[:1] + rows[2:]  # the second line tells how columns are aligned


def _plain(cell: str) -> str:
    """Without marks of emphasis and of escapes."""
    text = re.sub(r"(?<!\\)\*\*", "", cell.strip())
    return re.sub(r"\\(.)", r"\1", text)
