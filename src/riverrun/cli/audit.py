"""`riverrun audit`: does anything in a recipe depend on when training ends?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction


def audit(
    recipe: Positional[Path],
    *,
    set_: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    json: bool = False,
) -> int:
    """Name each value of a recipe that depends on when training ends; exit code 1 if one does.

    Args:
        recipe: a TOML file, or the name of a shipped recipe.
        set_: override a setting, as in --set schedule.kind=constant; may be given several times.
        json: print one JSON object.
    """
    from riverrun.train import audit as audit_plan
    from riverrun.train import build_plan, load_recipe
    from riverrun.train.shipped import find_recipe
    from riverrun.train.sources import open_sources

    loaded = load_recipe(find_recipe(recipe), set_)
    findings = audit_plan(build_plan(loaded, open_sources(loaded.data)[0][0].vocabulary))
    bound = [finding for finding in findings if not finding.horizon_free]
    if json:
        from dataclasses import asdict
        from json import dumps

        print(dumps({"horizon_free": not bound, "findings": [asdict(finding) for finding in findings]}))
        return 1 if bound else 0
    for finding in findings:
        mark = "free " if finding.horizon_free else "BOUND"
        print(f"{mark}  {finding.value} ({finding.setting}): {finding.evidence}")
    if bound:
        print(f"\n{recipe} depends on a horizon through {', '.join(finding.setting for finding in bound)}.")
        print(
            "Extending it would change its past. A horizon-free schedule: constant, inverse-sqrt, power-decay."
        )
    else:
        print(f"\n{recipe} is horizon-free: training longer never changes what came before.")
    return 1 if bound else 0
