"""`riverrun landscape probe`: the loss landscape around the checkpoints of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from rich.console import Console

    from riverrun.landscape.probe import Probed


def probe(
    run: Positional[Path],
    *,
    tokens: int = 32_768,
    points: int = 11,
    plane: int = 9,
    eigenvalues: int = 8,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Probe the loss landscape of a run: lines and a plane through its checkpoints, curvature, the river.

    Args:
        run: directory of the run; what was trained there is only read.
        tokens: held-out tokens behind each loss on a line; the plane takes a quarter of them, the Hessian an eighth.
        points: on each line, both ends among them; odd.
        plane: on a side of the plane's grid: 5, 9, 13, ...; 0 leaves the plane out.
        eigenvalues: how many of the Hessian's largest to find; 0 leaves the Hessian out.
        seed: of the direction that the search for eigenvalues begins with.
        out: where probe.png and probe.json go; the folder probe in the run's if not given.
        json: print one JSON object.
        quiet: print the claims alone.
    """
    import sys

    from riverrun.cli.console import PatientConsole
    from riverrun.cli.counted_progress import CountedProgress
    from riverrun.extras import require_packages
    from riverrun.landscape.probe import Sizes, probe_run
    from riverrun.landscape.probe.record import record
    from riverrun.publish import publish_file
    from riverrun.runs import Tree
    from riverrun.runs.metrics import to_json

    require_packages("landscape probe", "labs", {"matplotlib": "the figure"})
    from riverrun.landscape.probe.figure import save_figure  # needs it

    sizes = Sizes(tokens=tokens, points=points, plane=plane, eigenvalues=eigenvalues, seed=seed)
    console = PatientConsole(file=sys.stderr if json else None, highlight=False)
    tree = Tree.open(run)
    with CountedProgress(console, quiet) as told:
        probed = probe_run(tree, sizes, told)
    folder = out or run / "probe"
    folder.mkdir(parents=True, exist_ok=True)
    facts = record(probed, sizes)
    publish_file(folder / "probe.json", (to_json(facts) + "\n").encode())
    save_figure(folder / "probe.png", probed)
    if json:
        print(to_json(facts))
        return
    _print(console, run, probed, quiet)
    console.print(f"Saved in {folder}: probe.png and probe.json.", soft_wrap=True, markup=False)


def _print(console: Console, run: Path, probed: Probed, quiet: bool) -> None:
    from riverrun.cli.grids import print_grid
    from riverrun.landscape.probe.tables import tables
    from riverrun.train.commands import program

    for grid in () if quiet else tables(probed):
        print_grid(console, grid)
    for claim in probed.claims:
        console.print(f"{claim.verdict}: {claim.statement}.", soft_wrap=True, markup=False)
        for one in probed.lines:
            if one.line.kind == claim.kind:
                shape = one.shape
                text = f"  {shape.verdict}: {one.line.label}: {shape.evidence}"
                console.print(text, soft_wrap=True, markup=False)
    if not probed.choice.decays:
        command = f"{program()} branch {run} --decay linear --length 10%"
        console.print(
            f"The run has no decayed branch. This makes one: {command}", soft_wrap=True, markup=False
        )
