"""`riverrun compare`: methods against each other, fairly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, UseAppendAction


def compare(
    plan: Positional[Path],
    *,
    out: Path | None = None,
    plan_only: bool = False,
    launcher: Literal["local", "ray"] = "local",
    workers: int | None = None,
    set_: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Compare schedules fairly: same data, same held-out text, peak LR swept for each, several seeds, intervals.

    Runs that can share a trunk do. The same command goes on after any interruption, and ends with the same table.

    Args:
        plan: a TOML file, or the name of a shipped plan such as anytime-tiny.
        out: directory of the comparison; runs/PLAN if not given.
        plan_only: print runs, tokens, time and disk, and start nothing.
        launcher: processes of this machine, or a Ray cluster whose machines all see the directory (extra
            riverrun[ray]).
        workers: runs at a time; the plan's number if not given.
        set_: override a setting of the plan, as in --set seeds=[0,1]; may be given several times.
        quiet: print no progress.
        json: print the results as one JSON object on standard output, all else on standard error.
    """
    import shlex

    from riverrun.cli.compare_progress import Told, print_cost
    from riverrun.cli.console import PatientConsole
    from riverrun.compare.comparison import compare as run_comparison
    from riverrun.compare.cost import cost_of
    from riverrun.compare.local import LocalWorkers
    from riverrun.compare.opening import open_design, room_for
    from riverrun.compare.packages import require_its_packages
    from riverrun.compare.plan import load_plan
    from riverrun.compare.ray_cluster import RayWorkers
    from riverrun.errors import SettingError
    from riverrun.runs.lock import exclusive
    from riverrun.train.shipped import find_plan

    if workers is not None and workers < 1:
        raise SettingError(f"--workers: got {workers}; must be at least 1")
    path = find_plan(plan)
    settings = [word for override in set_ for word in ("--set", override)]
    command = shlex.join(["riverrun", "compare", str(plan), *settings])
    console = PatientConsole(stderr=json, highlight=False)

    def tell(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    design = open_design(load_plan(path, set_), tell if plan_only else None)
    room = room_for(design)
    count = workers or room.workers
    if plan_only:
        print_cost(console, design, cost_of(design, count), json)
        return 0
    require_its_packages(design.plan)
    from riverrun.cli.compare_report import print_report  # needs them

    named = None if design.plan.workers == "auto" else design.plan.workers
    folder = out or Path("runs") / path.stem
    with exclusive(folder, "comparing here", "--out", keep=lambda: any(folder.glob("*/trunk/node.json"))):
        pool = (
            RayWorkers(folder, room.threads, min(1, len(room.devices)), workers or named)
            if launcher == "ray"
            else LocalWorkers(folder, count, room.devices)
        )
        with pool, Told(console, design, quiet) as told:
            compared = run_comparison(design, folder, pool, told)
        if compared.exit_code:
            console.print("Interrupted; the same command goes on from here.")
        else:
            print_report(console, folder, design, compared, name=path.stem, command=command, json=json)
    return compared.exit_code or int(not compared.complete)
