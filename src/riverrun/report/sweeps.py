"""What the averages of a sweep scored."""

from __future__ import annotations

import math

from riverrun.report import schema
from riverrun.report.places import place
from riverrun.report.reading import Read


def sweeps(read: Read) -> list[schema.Sweep]:
    """The latest sweep of each position of a node; averages without a finite loss are left out."""
    found: dict[int, schema.Sweep] = {}
    for record in read.sweeps:
        rows: list[schema.SweepRow] = [
            {
                "profile": name,
                "loss": scores["loss"],
                "bits_per_byte": scores["bpb"],
                "bound": scores["bound"],
            }
            for name, scores in record["averages"].items()
            if all(scores[key] is not None and math.isfinite(scores[key]) for key in ("loss", "bpb", "bound"))
        ]
        found[record["step"]] = {
            "place": place(read.node.id, record["step"], read.plan),
            "best": record["best"],
            "rows": sorted(rows, key=lambda row: row["loss"]),
        }
    return list(found.values())
