"""The numbers of a bigram view as tables and as plain data."""

from __future__ import annotations

from typing import Any

from riverrun.grid import Grid
from riverrun.landscape.bigram_view import BigramView


def progress(view: BigramView) -> list[dict[str, Any]]:
    """How far each kind of context's loss fell in each stretch, for both models under WSD."""
    rows = []
    for name, training in {"tabular": view.decayed, "embedding": view.embedding}.items():
        for stretch, (start, end) in view.stretches.items():
            uncertain, certain = training.fall(start, end)
            rows.append(
                {
                    "model": name,
                    "stretch": stretch,
                    "from": start,
                    "to": end,
                    "certain": certain,
                    "uncertain": uncertain,
                    "uncertain_share": uncertain / (uncertain + certain),
                }
            )
    return rows


def curvature(view: BigramView) -> dict[str, float]:
    """Hessian traces of the tabular model and the split of the embedding model's top curvature, at the stable end."""
    uncertain, certain = view.traces[view.stable_end]
    return {
        "trace_uncertain": uncertain,
        "trace_certain": certain,
        "top_curvature_uncertain_share": view.top.uncertain_share,
    }


def bigram_tables(view: BigramView) -> list[Grid]:
    """Both as tables."""
    found = curvature(view)
    return [
        Grid(
            title="How far the loss fell under WSD, in nats, by the kind of context",
            headings=("model, stretch", "steps", "certain", "uncertain", "uncertain share"),
            rows=tuple(
                (
                    f"{row['model']}, {row['stretch']}",
                    f"{row['from']:,} to {row['to']:,}",
                    f"{row['certain']:.4f}",
                    f"{row['uncertain']:.4f}",
                    _share(row["certain"], row["uncertain"]),
                )
                for row in progress(view)
            ),
            notes=("A loss that rose has fallen by a negative number, and then there is no share.",),
        ),
        Grid(
            title="Curvature at the end of the stable phase",
            headings=("", "certain", "uncertain"),
            rows=(
                (
                    "tabular, trace of the Hessian",
                    f"{found['trace_certain']:.4f}",
                    f"{found['trace_uncertain']:.4f}",
                ),
                (
                    "embedding, part of the top 15 curvatures",
                    f"{1 - found['top_curvature_uncertain_share']:.2%}",
                    f"{found['top_curvature_uncertain_share']:.2%}",
                ),
            ),
        ),
    ]


def _share(certain: float, uncertain: float) -> str:
    return f"{uncertain / (uncertain + certain):.1%}" if min(certain, uncertain) >= 0 else "-"
