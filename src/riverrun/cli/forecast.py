"""`riverrun forecast`: what schedules will give, from the losses of a run so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from riverrun.errors import SettingError

if TYPE_CHECKING:
    from riverrun.report.forecast_source import Source

Many = UseAppendAction[tuple[str, ...]]


def forecast(
    run: Positional[Path],
    *,
    schedule: Annotated[Many, tyro.conf.arg(metavar="SCHEDULE")] = (),
    until: str | None = None,
    now: bool = False,
    target_loss: float | None = None,
    best_decay: bool = False,
    optimise: bool = False,
    backtest: bool = False,
    budget: str | None = None,
    profile: Annotated[Many, tyro.conf.arg(metavar="PROFILE")] = (),
    decay: str = "linear",
    length: str = "10%",
    floor: float = 0.1,
    node: str = "trunk",
    fit_until: str | None = None,
    after: float = 0.05,
    law: Literal["river", "multi-power", "momentum", "power"] = "river",
    also: Annotated[UseAppendAction[tuple[Path, ...]], tyro.conf.arg(name="with", metavar="FILE")] = (),
    columns: Annotated[Many, tyro.conf.arg(metavar="NAME=COLUMN")] = (),
    trained_with: str | None = None,
    peak_lr: float | None = None,
    figure: Path | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Forecast a run's losses under any schedule, raw, averaged and decayed, with 90% intervals; or plan with them.

    A law that maps learning rates to losses is fitted to what the run and its branches recorded. A short decay branch,
    or an average kept in training, lets it tell what decays give. See docs/forecast.md for how far to trust it.

    Args:
        run: directory of a run; or a CSV file, JSON lines, a Weights & Biases export, TensorBoard events.
        schedule: what to forecast: trunk (the run's own), "wsd: decay=0.2, shape=sqrt", "cosine", "cosine: total=4x",
            "wsds: budgets=1x/2x/4x", or a TOML file with a table [schedule]; may be given several times. A horizon that
            is not named is each budget in turn.
        until: the last budget, as in train: "8x", 65M-tokens, "20000 steps"; four times the run so far if not given.
        now: what decays of several lengths, started now, would give, and what averages give already.
        target_loss: the tokens and time that each schedule needs for this loss, in nats per token.
        best_decay: the best start and shape of a decay that ends at --budget.
        optimise: the best learning rate that never rises for --budget, as a schedule for train and branch.
        backtest: fit on the first quarter, half and three quarters of the run, and score what followed.
        budget: the fixed total of --best-decay and --optimise.
        profile: an average to forecast, such as half-life:25 or tail:0.2; those that the run keeps if not given, and
            none for a file.
        decay: shape of the decays that are forecast: linear, cosine, sqrt, exponential, inverse, power:P.
        length: of these decays, as a share of the budget.
        floor: their last fraction of the learning rate.
        node: trunk, or the name of a branch.
        fit_until: fit what lies before this position; what came after is shown beside the forecast.
        after: leave out what lies before this share of the run; laws are about what follows the warm-up.
        law: river is this package's; multi-power and momentum are published; power does not see the learning rate.
        also: files of other runs of the same model, fitted along; may be given several times.
        columns: what columns of a file are called: step=..., loss=..., lr=...; may be given several times.
        trained_with: the schedule that a file's run was trained with, as in --schedule; else its column lr.
        peak_lr: the peak of that schedule.
        figure: where to draw, .png or .svg; RUN/forecast.svg if not given, nowhere for a file and with --json.
        out: where --optimise writes the schedule; RUN/optimised.toml if not given.
        json: print one JSON object.
    """
    from riverrun.extras import require_packages

    require_packages("forecast", "forecast", {"scipy": "the fit"})
    from riverrun.cli.forecast_backtest import print_backtest  # they need it
    from riverrun.cli.forecast_decay import print_best_decay
    from riverrun.cli.forecast_now import print_now
    from riverrun.cli.forecast_optimum import print_optimum
    from riverrun.cli.forecast_outlook import print_outlook
    from riverrun.cli.forecast_request import opened, requested
    from riverrun.cli.forecast_target import print_target

    asked = {
        "--now": now,
        "--target-loss": target_loss is not None,
        "--best-decay": best_decay,
        "--optimise": optimise,
        "--backtest": backtest,
    }
    modes = [option for option, given in asked.items() if given]
    if len(modes) > 1:
        raise SettingError(f"{modes[1]}: answers another question than {modes[0]}; ask one at a time")
    if figure is not None and figure.suffix not in (".png", ".svg"):
        raise SettingError(f"--figure: got {str(figure)!r}; a figure is written as .png or .svg")
    _check_goes_with(
        modes[0] if modes else "",
        {
            "--schedule": bool(schedule),
            "--until": until is not None,
            "--figure": figure is not None,
            "--out": out is not None,
            "--fit-until": fit_until is not None,
        },
    )
    if (budget is None) == (best_decay or optimise):
        raise SettingError(
            f"{modes[0]}: needs the total, as in --budget 8x"
            if budget is None
            else "--budget: is for --best-decay and --optimise; a forecast goes --until"
        )
    source = opened(
        run,
        node=node,
        after=after,
        also=also,
        columns=columns,
        trained_with=trained_with,
        peak_lr=peak_lr,
        profiles=profile,
    )
    if backtest:
        print_backtest(source, law, json)
        return
    request = requested(source, law, fit_until, decay=decay, length=length, floor=floor)
    if now:
        print_now(request, json)
    elif target_loss is not None:
        print_target(request, schedule, target_loss, until, json)
    elif budget is not None and best_decay:
        print_best_decay(request, source.position("--budget", budget), json)
    elif budget is not None:
        print_optimum(request, source.position("--budget", budget), _beside(source, out), json)
    else:
        print_outlook(request, schedule, until, figure or (None if json else _figure(source)), json)


_GOES_WITH = {
    "--schedule": ("", "--target-loss"),
    "--until": ("", "--target-loss"),
    "--figure": ("",),
    "--out": ("--optimise",),
    "--fit-until": ("", "--now", "--target-loss", "--best-decay", "--optimise"),
}
"""The questions that an option has a say in; "" is the forecast of schedules."""


def _check_goes_with(mode: str, given: Mapping[str, bool]) -> None:
    for option, is_given in given.items():
        if is_given and mode not in _GOES_WITH[option]:
            others = " or ".join(map(_called, _GOES_WITH[option]))
            raise SettingError(f"{option}: has no say in {_called(mode)}, but in {others}; leave it out")


def _called(mode: str) -> str:
    return mode or "a forecast of schedules"


def _figure(source: Source) -> Path | None:
    return None if source.path is None else source.path / "forecast.svg"


def _beside(source: Source, out: Path | None) -> Path:
    return out or (source.path or Path()) / "optimised.toml"
