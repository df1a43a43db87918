"""`riverrun average`: any average of a run's weights, decided on later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional, UseAppendAction

from riverrun.cli.model_directory import Dtype
from riverrun.cli.profiles import parsed_profile

if TYPE_CHECKING:
    from riverrun.averaging import Profile
    from riverrun.runs import Node
    from riverrun.runs.metrics import Record
    from riverrun.train.average_losses import Scored


def average(
    run: Positional[Path],
    *,
    at: str = "latest",
    profile: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="PROFILE")] = (),
    sweep: bool = False,
    node: str = "trunk",
    out: Path | None = None,
    readout: str = "raw",
    dtype: Dtype = "float32",
    snap: bool = False,
    max_bound: float = 0.25,
    json: bool = False,
) -> None:
    """Average the weights of a run over any part of its past: made from its history, scored, written out.

    Of other trainers' runs: made from the checkpoints that Hugging Face's Trainer or Lightning left, and written out.

    Args:
        run: directory of the run; or a folder with checkpoint-STEP folders or with *.ckpt files.
        at: the position: a step such as 1200, "65M tokens", "2x", or latest. Positions between checkpoints will do,
            but for other trainers' runs.
        profile: tail:0.2 (equal weights on the last 20%), half-life:25 (a half-life of 1/25 of the run), uniform,
            uniform:from=1000, decay-like:sqrt:0.2 (what such a decay over the last 20% amounts to), ema:0.999, or a
            file.csv of weights; may be given several times.
        sweep: score the usual profiles instead, write none, and name the best.
        node: trunk, or the name of a branch.
        out: where to write; readouts/PROFILE-STEP in the node's folder if not given. Must not exist.
        readout: of checkpoints of Lightning: raw, or averaged for the weights that its callbacks for weight averaging
            kept.
        dtype: of the written weights.
        snap: move the edges of windows to edges of blocks: exact averages of windows nearly as long.
        max_bound: refuse an average with more than this share of its weight on other iterates than asked.
        json: print one JSON object.
    """
    import sys

    from riverrun.cli.average_series import average_series
    from riverrun.cli.positions import parse_position
    from riverrun.errors import SettingError
    from riverrun.runs import Tree

    if bool(profile) == sweep:
        raise SettingError(
            "--profile: name one, such as --profile tail:0.2, or have the usual ones compared with --sweep"
            if not sweep
            else "--profile: a sweep compares the usual ones; leave one of the two out"
        )
    if out is not None and len(profile) != 1:
        raise SettingError(f"--out {out}: takes one profile, and there are {len(profile)}; leave it out")
    if not 0 <= max_bound <= 1:
        raise SettingError(f"--max-bound: got {max_bound:g}; must be a share from 0 to 1")
    if run.is_dir() and not (run / "trunk").exists():
        if sweep or node != "trunk":
            raise SettingError(
                f"{'--sweep' if sweep else f'--node {node}'}: is for runs of riverrun, which {run} is not; leave it out"
            )
        average_series(
            run, at, profile, out=out, readout=readout, dtype=dtype, snap=snap, max_bound=max_bound, json=json
        )
        return
    if readout != "raw":
        raise SettingError(
            f"--readout: got {readout!r}; is for checkpoints of Lightning, which {run} does not hold; leave it out"
        )
    source = Tree.open(run).node(node)
    asked = {
        "at": parse_position(at),
        "largest_bound": max_bound,
        "note": lambda text: print(text, file=sys.stderr),
    }
    if sweep:
        _sweep(source, asked, json)
    else:
        _write(source, [parsed_profile(spec) for spec in profile], asked | {"snap": snap}, out, dtype, json)


def _write(
    node: Node, profiles: list[Profile], asked: dict[str, Any], out: Path | None, dtype: Dtype, json: bool
) -> None:
    from riverrun.cli.model_directory import free_directory, write_model
    from riverrun.errors import SettingError
    from riverrun.runs.metrics import to_json
    from riverrun.train.average_losses import facts_of, note_average, score_averages

    targets: dict[tuple[Profile, int], Path] = {}

    def expect(owner: Node, profile: Profile, step: int) -> None:
        target = free_directory(out or owner.path / "readouts" / f"{profile.name}-{step:08d}")
        if target in targets.values():
            raise SettingError(f"--profile: two of them are {profile.spec} at step {step:,}; name one")
        targets[profile, step] = target

    written = []
    for scored in score_averages(node, profiles, **asked, expect=expect):
        target = targets[scored.average.profile, scored.average.step]
        facts = facts_of(scored)
        write_model(target, scored.model, scored.tokenizer, dtype, facts)
        note_average(scored)
        written.append(facts | {"directory": str(target)})
        if not json:
            _print(scored, target)
    if json:
        print(to_json({"averages": written}))


def _print(scored: Scored, target: Path) -> None:
    made, name = scored.average, scored.name
    others = [
        f"{key.removeprefix('loss/')} {loss:.4f}"
        for key, loss in _recorded(made.node, made.step).items()
        if key.startswith("loss/") and key not in ("loss/train", f"loss/{name}")
    ]
    exactly = f"{made.bound:.1%} of the weight lies on other iterates" if made.bound else "exactly"
    rows = {
        "average": f"{name} of {made.node.id} at step {made.step:,}: {made.profile.spec}, {exactly}",
        "from": f"the {made.source} in {made.checkpoint.path}",
        "loss": f"{scored.loss:.4f} nats per token, {scored.scores[f'bpb/{name}']:.3f} bits per byte"
        + (f"; {', '.join(others)}" if others else ""),
        "model": str(target),
    }
    for title, text in rows.items():
        print(f"{title:9s} {text}")


def _recorded(node: Node, step: int) -> Record:
    """The readouts of a position in a node's record, or nothing."""
    return next((record for record in node.readouts() if record["step"] == step), {})


def _sweep(node: Node, asked: dict[str, Any], json: bool) -> None:
    from riverrun.errors import CheckpointError
    from riverrun.runs.metrics import to_json
    from riverrun.train.average_losses import facts_of, note_sweep, score_averages
    from riverrun.train.averages import USUAL

    swept = list(score_averages(node, USUAL, **asked, leave_out=True))
    if not swept:
        raise CheckpointError(
            f"{node.path}: no usual profile can be made at {asked['at']}; name a later --at, or a larger --max-bound"
        )
    note_sweep(swept)
    best = min(swept, key=lambda scored: scored.compared)
    apart = f"select/{best.name}" in best.scores
    if json:
        averages = [facts_of(scored) for scored in swept]
        print(to_json({"best": best.name, "chosen_by": "select" if apart else "loss", "averages": averages}))
        return
    _print_sweep(swept, best)
    chosen = (
        "It was selected, on windows kept apart: its loss here is fair."
        if apart
        else f"It was selected from {len(swept)} by the very loss that is shown, so that loss is too good; with "
        "[readouts] select, windows are kept apart to choose by."
    )
    print(f"\nThe best is {best.name}, at {best.loss:.4f} nats per token. {chosen}")
    left_out = [profile.spec for profile in USUAL if profile not in [one.average.profile for one in swept]]
    if left_out:
        print(f"Left out, for the blocks there are too wide: {', '.join(left_out)}.")


def _print_sweep(swept: list[Scored], best: Scored) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from riverrun.cli.summary import print_whole

    node, step = best.average.node, best.average.step
    raw = _recorded(node, step).get("loss/raw")
    beside = "" if raw is None else f" (raw {raw:.4f})"
    print(f"Averages of {node.id} at step {step:,}: held-out loss in nats per token{beside}\n")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("profile", no_wrap=True)
    for heading in ("loss", "bits per byte", "to the best", "error bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in sorted(swept, key=lambda scored: scored.compared):
        table.add_row(
            one.average.profile.spec,
            f"{one.loss:.4f}",
            f"{one.scores[f'bpb/{one.name}']:.3f}",
            f"{one.loss - best.loss:+.4f}",
            f"{one.average.bound:.1%}",
        )
    print_whole(Console(highlight=False), table)
