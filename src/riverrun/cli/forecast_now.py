"""`riverrun forecast RUN --now`: what decays from here would give, and what the weights and averages give already."""

from __future__ import annotations

from rich.console import Console

from riverrun.cli.forecast_outlook import interval_of, plain_prediction
from riverrun.cli.forecast_request import Request
from riverrun.cli.grids import print_folded_grid
from riverrun.errors import SettingError
from riverrun.forecast import predict, rates_of
from riverrun.forecast.decays import decays_now
from riverrun.grid import Grid
from riverrun.runs.metrics import to_json

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Lengths of decays that start now, of the run so far."""


def print_now(request: Request, json: bool) -> None:
    """What decays from here would end at, and what the weights and averages give already."""
    source, fit, now = request.source, request.fit, request.now
    choice = request.decay
    lengths = sorted({max(1, round(share * now)) for share in SHARES})
    try:
        found = decays_now(
            fit, source.schedule, source.peak_lr, now, lengths, shape=choice.shape, floor=choice.floor
        )
    except ValueError as error:
        raise SettingError(f"--now: {error}") from None
    rates = rates_of(source.schedule, source.peak_lr, now)
    already = {
        name: predict(fit, rates, [now], profile=profile)
        for name, profile in [("raw", None), *((profile.name, profile) for profile in source.profiles)]
    }
    measured = {name: _measured(request, name, now) for name in already}
    if json:
        print(
            to_json(
                request.facts()
                | {
                    "already": {
                        name: plain_prediction(one) | {"measured": measured[name]}
                        for name, one in already.items()
                    },
                    "decays": [{"length": one.length} | plain_prediction(one.loss) for one in found],
                }
            )
        )
        return
    rows = [
        (f"{name}, as it is", "-", source.label(now), interval_of(one), _number(measured[name]))
        for name, one in already.items()
    ]
    rows += [
        (f"{choice.shape} decay", f"{one.length:,}", source.label(one.end), interval_of(one.loss), "")
        for one in found
    ]
    print_folded_grid(
        Console(highlight=False),
        Grid(
            title=f"{source.name} at {source.label(now)}: {request.series} loss in nats per token, now and decayed",
            headings=("model", "steps more", "at", "loss", "measured"),
            rows=tuple(rows),
            notes=tuple(request.notes()),
        ),
    )


def _measured(request: Request, name: str, now: int) -> float | None:
    """The last loss of that readout in the curves, if it was measured at the position."""
    for curve in request.fitted:
        label = curve.profile.name if curve.profile else "raw"
        if curve.series == request.series and label == name and curve.steps[-1] == now:
            return float(curve.losses[-1])
    return None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
