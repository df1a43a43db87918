"""`riverrun branch`: fork a run, to decay the learning rate, to go on at the peak, or to follow a schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.train.decay import Accounting, Decay
    from riverrun.train.recipe import Feed
    from riverrun.units import Duration

_USUAL = {"decay": "linear", "length": "10%", "of": "budget", "floor": 0.1, "budget": None}


def branch(
    run: Positional[Path],
    *,
    from_: Annotated[str, tyro.conf.arg(name="from", metavar="NODE")] = "trunk",
    at: str = "latest",
    budget: str | None = None,
    decay: str = "linear",
    length: str = "10%",
    of: str = "budget",
    floor: float = 0.1,
    schedule: Path | None = None,
    peak_lr: float | None = None,
    data: str = "continue",
    until: str | None = None,
    name: str | None = None,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Fork a run with all of its state and train it to its end, or to --until; the same command resumes.

    Args:
        run: directory of the run.
        from_: the node to fork: trunk, or the name of a branch.
        at: the checkpoint to fork: a step such as 1200, "65M tokens", "2x", latest, or budget, which --budget implies.
            Where the parent moved on, latest is another fork; name the step to go on with a branch.
        budget: where the decay ends: "5000 steps", 50M-tokens, 2x. The fork follows from it.
        decay: linear, cosine, sqrt, exponential, inverse, power:P, or none to go on with the schedule as it is
            without decays, until interrupted or to --until.
        length: of the decay: a share such as 10%, "500 steps", or "65M tokens".
        of: what a share counts: budget, with earlier decays on top; cycle, since the last decay; or cumulative, all
            steps up to the end.
        floor: the decay's last fraction of the learning rate at the fork.
        schedule: instead of a decay, the table [schedule] of this TOML file or node.json; trained to its end. Up to the
            fork it must give each update the learning rate that it had.
        peak_lr: another peak learning rate, from the fork on.
        data: continue with the parent's, or CORPUS:WEIGHT: that corpus gives that share from the fork on, the
            parent's data the rest. CORPUS alone gives all.
        until: where to stop, as in train; a decay or schedule otherwise goes to its end. No schedule sees it.
        name: of the branch; made from the fork and the schedule if not given.
        quiet: say nothing.
        json: print the readouts as one JSON object on standard output, all else on standard error.
    """
    from riverrun.cli.branch_summary import Announced, print_summary, summary
    from riverrun.cli.console import PatientConsole, speaks
    from riverrun.runs import Tree
    from riverrun.train import Quiet, Shown
    from riverrun.train.branch import plan_branch, train_branch

    tree = Tree.open(run)
    if schedule is None:
        decayed, table = _decay(decay, length, of, floor), None
    else:
        decayed, table = None, _table(schedule, decay=decay, length=length, of=of, floor=floor, budget=budget)
    quiet, json = quiet or not speaks(), json and speaks()
    console = PatientConsole(stderr=json, quiet=quiet, highlight=False)
    start, end = _where(at, budget)
    planned = plan_branch(
        tree,
        source=from_,
        at=start,
        budget=end,
        decay=decayed,
        schedule=table,
        peak_lr=peak_lr,
        data=_feed(data),
        name=name,
        note=Shown(console).note,
    )
    progress = Quiet() if quiet else Announced(console, planned)
    outcome = train_branch(planned, until, progress=progress)
    if json:
        from riverrun.runs.metrics import to_json

        print(to_json(summary(run, planned, outcome)))
    if not quiet:
        print_summary(console, run, planned, outcome, until)
    return outcome.exit_code


def _decay(shape: str, length: str, of: str, floor: float) -> Decay | None:
    from riverrun.errors import SettingError
    from riverrun.train.decay import Decay, parse_length

    if shape != "none":
        return Decay(shape=shape, length=parse_length(length), of=_accounting(of), floor=floor)
    for option, given in {"length": length, "of": of, "floor": floor}.items():
        if given != _USUAL[option]:
            raise SettingError(
                f"--{option}: got {given}, but with --decay none there is no decay; leave it out"
            )
    return None


def _table(file: Path, **others: Any) -> dict[str, Any]:
    """The schedule in a file, in place of the options that say a decay."""
    from riverrun.errors import SettingError
    from riverrun.train.settings import read_table

    for option, given in others.items():
        if given != _USUAL[option]:
            raise SettingError(
                f"--{option}: got {given}, but --schedule says what the learning rate does; leave one of them out"
            )
    table = read_table(file, "schedule").get("schedule")
    if not isinstance(table, dict):
        raise SettingError(
            f"--schedule: {file} has no table [schedule]; write the schedule's kind and settings under that name"
        )
    return table


def _accounting(of: str) -> Accounting:
    from typing import get_args

    from riverrun.errors import SettingError, nearest
    from riverrun.train.decay import Accounting

    accountings: tuple[Accounting, ...] = get_args(Accounting)
    for accounting in accountings:
        if of == accounting:
            return accounting
    raise SettingError(f"--of: got {of!r}{nearest(of, accountings)}")


def _where(at: str, budget: str | None) -> tuple[int | Duration | Literal["latest"], Duration | None]:
    """The position to fork at, and the budget that takes its place where one is given."""
    from riverrun.cli.positions import parse_position
    from riverrun.errors import SettingError
    from riverrun.units import Duration

    if budget is not None:
        if at not in ("latest", "budget"):
            raise SettingError(
                f"--at: got {at}, but --budget says where the fork is; leave one of the two out"
            )
        try:
            return "latest", Duration.parse(budget)
        except SettingError as error:
            raise SettingError(f"--budget: {error}") from None
    if at == "budget":
        raise SettingError('--at: got budget, but no budget; name it, as in --budget "5000 steps"')
    return parse_position(at), None


def _feed(data: str) -> Feed | None:
    """What `--data` asks for; a colon in a path is part of it unless a number follows."""
    from contextlib import suppress
    from fractions import Fraction

    from riverrun.errors import SettingError
    from riverrun.train.recipe import Feed
    from riverrun.units import Duration

    if data == "continue":
        return None
    corpus, weight = data, 1.0
    before, _, last = data.rpartition(":")
    if before:
        with suppress(ValueError):
            corpus, weight = before, float(last)
    if not 0 < weight <= 1:
        raise SettingError(f"--data: got a weight of {weight:g}; must be a share above 0 and at most 1")
    return Feed(at=Duration(Fraction(0), "steps"), corpus=corpus, weight=weight)
