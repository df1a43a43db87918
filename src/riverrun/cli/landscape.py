"""`riverrun landscape river`, `bigram` and `verify`: toys that show why decays work, and their claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import UseAppendAction

if TYPE_CHECKING:
    from riverrun.grid import Grid


def river(
    *,
    steps: int = 4000,
    peak_lr: float = 0.9,
    curvature: float = 1.0,
    seed: int = 0,
    out: Path = Path("landscape"),
    json: bool = False,
) -> None:
    """Run four schedules down a river valley; print losses and elevations, and draw river.png.

    Args:
        steps: of every run.
        peak_lr: learning rate of the stable phase; 2 over the largest curvature is too much.
        curvature: how far the river swings to each side; 0 for a straight one.
        seed: of the noise.
        out: folder for the figure.
        json: print one JSON object.
    """
    from riverrun.extras import require_packages

    require_packages("landscape river", "labs", {"matplotlib": "the figure"})
    from riverrun.landscape.river_figure import save_river_figure
    from riverrun.landscape.river_tables import lines, moments, river_tables
    from riverrun.landscape.river_view import view_river

    view = view_river(steps=steps, peak=peak_lr, amplitude=curvature, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    save_river_figure(out / "river.png", view)
    _say(out / "river.png", river_tables(view), {"moments": moments(view), "lines": lines(view)}, json)


def bigram(
    *,
    steps: int = 6000,
    peak_lr: float = 4.0,
    seed: int = 0,
    out: Path = Path("landscape"),
    json: bool = False,
) -> None:
    """Train two bigram models; print which contexts make the progress and the curvature, and draw bigram.png.

    Args:
        steps: of every run.
        peak_lr: peak learning rate of the tabular model; the embedding model has an eighth of it.
        seed: of batches and weights.
        out: folder for the figure.
        json: print one JSON object.
    """
    from riverrun.extras import require_packages

    require_packages(
        "landscape bigram", "labs", {"matplotlib": "the figure", "scipy": "the largest curvatures"}
    )
    from riverrun.landscape.bigram_figure import save_bigram_figure
    from riverrun.landscape.bigram_tables import bigram_tables, curvature, progress
    from riverrun.landscape.bigram_view import view_bigrams

    view = view_bigrams(steps=steps, peak=peak_lr, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    save_bigram_figure(out / "bigram.png", view)
    _say(
        out / "bigram.png",
        bigram_tables(view),
        {"progress": progress(view), "curvature": curvature(view)},
        json,
    )


def verify(
    *,
    only: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NUMBER")] = (),
    quick: bool = False,
    detail: bool = False,
    json: bool = False,
) -> int:
    """Compute what is claimed of the river valley (R1 to R7) and of the bigrams (G1 to G4); exit code 1 if one fails.

    Args:
        only: compute this claim alone, as in --only R1; may be given several times.
        quick: leave out the claims that take longer than some seconds.
        detail: print every measurement, not only the one nearest to its bounds.
        json: print one JSON object.
    """
    from riverrun.cli.verify import run_claims
    from riverrun.extras import require_packages

    require_packages("landscape verify", "labs", {"scipy": "free learning rates and the largest curvatures"})
    from riverrun.landscape.claims import CLAIMS

    return run_claims("landscape verify", CLAIMS, only, quick=quick, detail=detail, json=json)


def _say(figure: Path, grids: Sequence[Grid], facts: dict[str, Any], json: bool) -> None:
    """The tables and the figure's place, or the same as JSON."""
    from riverrun.cli.console import PatientConsole
    from riverrun.cli.grids import print_grid
    from riverrun.runs.metrics import to_json

    if json:
        print(to_json({**facts, "figure": str(figure)}))
        return
    console = PatientConsole(highlight=False)
    for grid in grids:
        print_grid(console, grid)
    console.print(f"Drawn in {figure}.", soft_wrap=True, markup=False)
