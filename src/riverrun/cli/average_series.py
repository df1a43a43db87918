"""`riverrun average` of the checkpoints that another trainer left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from riverrun.cli.model_directory import Dtype, free_directory
from riverrun.cli.profiles import parsed_profile

if TYPE_CHECKING:
    from riverrun.merge import MergePlan


def average_series(
    path: Path,
    at: str,
    profiles: tuple[str, ...],
    *,
    out: Path | None,
    readout: str,
    dtype: Dtype,
    snap: bool,
    max_bound: float,
    json: bool,
) -> None:
    """Write averages of a series, one folder for each profile; the arguments are those of the command."""
    from riverrun.cli.merge import MergeProgress, leaving_tidily
    from riverrun.errors import SettingError
    from riverrun.merge import check_target, merge, plan_average, read_series
    from riverrun.merge.series import holds_series
    from riverrun.runs.metrics import to_json

    if not holds_series(path):
        raise SettingError(
            f"{path}: is no run of riverrun, and holds no checkpoint-STEP folders of Hugging Face's Trainer or *.ckpt "
            "files of Lightning; name the folder that does"
        )
    wanted = [parsed_profile(spec) for spec in profiles]
    series = read_series(path, readout)
    step = _step(at)
    plans = {}
    for profile in wanted:
        plan = plan_average(series, profile, step, snap=snap, largest_bound=max_bound, dtype=dtype)
        target = free_directory(out or path / "readouts" / _name(plan))
        if target in plans:
            raise SettingError(f"--profile: two of them are {plan.profile} at {at}; name one")
        check_target(plan, target)
        plans[target] = plan
    written = []
    with leaving_tidily():
        for target, plan in plans.items():
            with MergeProgress(quiet=json) as progress:
                manifest = merge(plan, target, progress.show)
            written.append(manifest | {"directory": str(target)})
            if not json:
                _print(plan, manifest, target)
    if json:
        print(to_json({"averages": written}))


def _step(at: str) -> int | None:
    """The step that `--at` names; None for the latest."""
    from riverrun.errors import SettingError

    if at == "latest":
        return None
    if not at.isdecimal():
        raise SettingError(
            f"--at: got {at!r}; must be a number of steps, or latest, for checkpoints of another trainer"
        )
    return int(at)


def _name(plan: MergePlan) -> str:
    """Of the folder: the profile, whose window may have been snapped, and the step."""
    of = "" if plan.readout == "raw" else f"{plan.readout}-"
    return f"{of}{parsed_profile(plan.profile).name}-{plan.inputs[-1].position:08d}"


def _print(plan: MergePlan, manifest: dict[str, Any], target: Path) -> None:
    first, last = plan.read[0].path.name, plan.inputs[-1].path.name
    count = len(plan.read)
    exactly = f"{plan.bound:.1%} of the weight lies on other iterates" if plan.bound else "nothing cut"
    print(f"average   {plan.profile} at step {plan.inputs[-1].position:,}: {exactly}")
    print(
        f"from      {f'{count} checkpoints, {first} to {last}' if count > 1 else last}, {plan.readout} weights"
    )
    for note in manifest["notes"]:
        print(f"note      {note}")
    print(f"model     {target}")
