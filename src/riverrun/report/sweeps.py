"""What the averages of a sweep scored."""

from __future__ import annotations

import math
from collections.abc import Iterable

from riverrun.report import schema
from riverrun.report.places import place
from riverrun.report.reading import Read


def sweeps(reads: Iterable[Read]) -> list[schema.Sweep]:
    """The latest sweep of each position; averages without a finite loss are left out."""
    found: dict[tuple[str, int], schema.Sweep] = {}
    for read in reads:
        for record in read.sweeps:
            rows: list[schema.SweepRow] = [
                {
                    "profile": name,
                    "loss": scores["loss"],
                    "bits_per_byte": scores["bpb"],
                    "bound": scores["bound"],
                }
                for name, scores in record["averages"].items()
                if all(
                    scores[key] is not None and math.isfinite(scores[key]) for key in ("loss", "bpb", "bound")
                )
            ]
            found[read.node.id, record["step"]] = {
                "place": place(read.node.id, record["step"], read.plan),
                "best": record["best"],
                "rows": sorted(rows, key=lambda row: row["loss"]),
            }
    return list(found.values())
