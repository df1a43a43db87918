"""`riverrun theory rates`, `compare`, `figure3` and `verify`: linear regression as a model of pretraining."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import UseAppendAction

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from riverrun.grid import Grid

FOLDER = Path("theory")
DOUBLINGS = tuple(2**power for power in range(10, 22))


def rates(
    *,
    capacity: float = 1.5,
    source: float = 2.5,
    gammas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    out: Path = FOLDER,
    json: bool = False,
) -> None:
    """Measure by which power of T the risk falls under learning rates t^-gamma, beside what theory predicts.

    Args:
        capacity: a, of the eigenvalues i^-a; more than 1.
        source: b, of the target's parts i^-b; more than 1.
        gammas: increasing, from 0 up to 0.95; both best gammas are added.
        out: directory for the figure.
        json: print one JSON object, and draw nothing.
    """
    from riverrun.grid import Grid
    from riverrun.theory import rates as law
    from riverrun.theory.slopes import asymptotic_slopes

    if not json:
        _needs_figure("theory rates")
    with _mendable():
        best = law.best_gamma(capacity, source)
        published = law.published_best_gamma(capacity, source)
        # 1 - a/b is rarely a float of its own: 0.2 and 0.19999999999999996 are one row.
        every = tuple(sorted({round(gamma, 9) for gamma in (*gammas, best, min(published, 0.95))}))
        predicted = [
            (law.averaged_exponent(capacity, source, gamma), law.last_exponent(capacity, source, gamma))
            for gamma in every
        ]
        found = asymptotic_slopes(capacity, source, every)
    if json:
        _print_json(
            {
                "capacity": capacity,
                "source": source,
                "best_gamma": best,
                "published_best_gamma": published,
                "minimax_exponent": law.minimax_exponent(capacity, source),
                "slopes": [
                    {
                        "gamma": gamma,
                        "averaged": averaged,
                        "last": last,
                        "predicted": {"averaged": both[0], "last": both[1]},
                    }
                    for gamma, averaged, last, both in zip(
                        every, found.averaged, found.last, predicted, strict=True
                    )
                ],
            }
        )
        return
    rows = tuple(
        (f"{gamma:.3g}", f"{averaged:.3f}", f"{both[0]:.3f}", f"{last:.3f}", f"{both[1]:.3f}")
        for gamma, averaged, last, both in zip(every, found.averaged, found.last, predicted, strict=True)
    )
    steepest = max(range(len(every)), key=lambda n: found.averaged[n])
    notes = (
        f"Minimax: {law.minimax_exponent(capacity, source):.3f}. Best gamma max(0, min(1/2, 1 - a/b)) = {best:.3g}, "
        f"this project's refinement of the published max(0, 1 - a/b) = {published:.3g}"
        + (": with b > 2a they differ." if published > 0.5 else "; for b <= 2a they are the same."),
        *(
            ["At gamma = 1/2 with b >= 2a a logarithm bends the slope below what is predicted."]
            if source >= 2 * capacity
            else []
        ),
    )
    grid = Grid(
        title=f"Exponents of the excess risk for T from 2^32 to 2^44, a = {capacity:g}, b = {source:g}",
        headings=("gamma", "averaged", "predicted", "last", "predicted"),
        rows=rows,
        marked=frozenset({(steepest, 1)}),
        notes=notes,
    )

    def draw() -> Figure:
        from riverrun.theory.figures import draw_rates

        return draw_rates(capacity, source, found)

    _tell(grid, out / f"rates-{capacity:g}-{source:g}.png", draw)


def compare(
    *,
    capacity: float = 1.5,
    source: float = 2.5,
    noise: float = 1.0,
    batch: int = 1,
    horizons: tuple[int, ...] = DOUBLINGS,
    average: str = "tail:0.5",
    out: Path = FOLDER,
    json: bool = False,
) -> None:
    """Hold schedules and averages against the lower bound, each with its LR tuned once or per horizon.

    Args:
        capacity: a, of the eigenvalues i^-a; more than 1.
        source: b, of the target's parts i^-b; more than 1.
        noise: variance of the labels.
        batch: samples per update.
        horizons: increasing numbers of updates.
        average: what averaged methods read, such as tail:0.5 or half-life:25.
        out: directory for the figure.
        json: print one JSON object, and draw nothing.
    """
    from riverrun.averaging.specs import parse_profile
    from riverrun.grid import Grid
    from riverrun.theory import PowerLaw, Regression
    from riverrun.theory.comparison import compare as compare_methods

    if not json:
        _needs_figure("theory compare")
    with _mendable():
        # As many modes as the longest run needs at the largest LRs tried.
        dimension = int(min(1e13, max(1e4, 40 * (4.0 * max(1, *horizons)) ** (1 / max(capacity, 1.0001)))))
        problem = Regression(
            spectrum=PowerLaw(capacity=capacity, source=source, dimension=dimension), noise=noise, batch=batch
        )
        found = compare_methods(problem, horizons, parse_profile(average))
    if json:
        _print_json(
            {
                "horizons": list(found.horizons),
                "lower_bound": found.bound.tolist(),
                "methods": [
                    {"name": one.name, "tuned": one.tuned, "risk": one.risks.tolist(), "lr": one.lrs.tolist()}
                    for one in found.methods
                ],
            }
        )
        return
    shown = range(0, len(found.horizons), max(1, len(found.horizons) // 6))
    grid = Grid(
        title=f"Excess risk over the lower bound, a = {capacity:g}, b = {source:g}, noise {noise:g}, batch {batch}",
        headings=("method", "LR tuned", *(f"T={found.horizons[n]:,}" for n in shown), "worst"),
        rows=tuple(
            (
                one.name,
                one.tuned,
                *(f"{one.risks[n] / found.bound[n]:.2f}" for n in shown),
                f"{max(one.risks / found.bound):.2f}",
            )
            for one in found.methods
        ),
        notes=("Tuned once: one open-ended run for all horizons. Per horizon: a run and an LR for each.",),
    )

    def draw() -> Figure:
        from riverrun.theory.figures import draw_comparison

        return draw_comparison(found)

    _tell(grid, out / f"compare-{capacity:g}-{source:g}.png", draw)


def figure3(*, workers: int | None = None, out: Path = FOLDER, json: bool = False) -> None:
    """The regression experiment of *Anytime Pretraining*: d = 500,000, T = 50,000, six spectra.

    Args:
        workers: processes; one for each processor if not given.
        out: directory for the figure.
        json: print one JSON object, and draw nothing.
    """
    from riverrun.errors import SettingError
    from riverrun.grid import Grid
    from riverrun.theory.figure3 import CHECKPOINTS, MULTIPLIERS
    from riverrun.theory.figure3 import figure3 as panels_of

    if workers is not None and workers < 1:
        raise SettingError(f"--workers: got {workers}; must be at least 1")
    if not json:
        _needs_figure("theory figure3")
    panels = panels_of(workers)
    if json:
        _print_json(
            {
                "checkpoints": list(CHECKPOINTS),
                "panels": [
                    {
                        "capacity": panel.capacity,
                        "source": panel.source,
                        "lower_bound": panel.bound.tolist(),
                        "risks": {name: risks.tolist() for name, risks in panel.risks.items()},
                        "multipliers": dict(panel.multipliers),
                    }
                    for panel in panels
                ],
            }
        )
        return
    edge = max(MULTIPLIERS)
    grid = Grid(
        title="Excess risk over the lower bound (d = 500,000, noise 0.01, uniform averages)",
        headings=("a, b", "method", "LR x tr H", *(f"T={CHECKPOINTS[n]:,}" for n in (0, 3, 5, 7))),
        rows=tuple(
            (
                f"{panel.capacity:g}, {panel.source:g}",
                name,
                f"{panel.multipliers[name]:g}" + ("†" if panel.multipliers[name] == edge else ""),
                *(f"{risks[n] / panel.bound[n]:.2f}" for n in (0, 3, 5, 7)),
            )
            for panel in panels
            for name, risks in panel.risks.items()
        ),
        notes=(
            "Each method has the LR of the least mean risk over the checkpoints; † is the largest tried, 8; constants "
            "and cosines end at the stability limit.",
        ),
    )

    def draw() -> Figure:
        from riverrun.theory.figures import draw_figure3

        return draw_figure3(panels)

    _tell(grid, out / "figure3.png", draw)


def verify(
    *,
    quick: bool = False,
    only: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="CLAIM")] = (),
    detail: bool = False,
    json: bool = False,
) -> int:
    """Compute every claim about linear regression and print its value, its bounds, and whether it holds; 1 if not.

    Args:
        quick: leave out those that take minutes.
        only: the number of a claim, such as C7; may be given several times.
        detail: print every measurement.
        json: print one JSON object on standard output, all else on standard error.
    """
    from riverrun.cli.verify import run_claims
    from riverrun.theory.claims import CLAIMS

    return run_claims("theory verify", CLAIMS, only, quick=quick, detail=detail, json=json)


# What the library calls otherwise than the options do.
_NAMED = {"profile": "average", "gamma": "gammas"}
_OPTIONS = re.compile(r"^(profile|gamma)(?=:)")


@contextmanager
def _mendable() -> Iterator[None]:
    """Wrong arguments of the library as errors of the command line, and its warnings on standard error."""
    import sys
    import warnings

    from riverrun.errors import SettingError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ValueError as error:
            raise SettingError(f"--{_OPTIONS.sub(lambda name: _NAMED[name[0]], str(error))}") from None
        finally:
            for warning in caught:
                print(f"riverrun: {warning.message}", file=sys.stderr)


def _print_json(value: object) -> None:
    from riverrun.runs.metrics import to_json

    print(to_json(value))


def _needs_figure(command: str) -> None:
    from riverrun.extras import require_packages

    require_packages(command, "labs", {"matplotlib": "the figure; --json does without"})


def _tell(grid: Grid, target: Path, draw: Callable[[], Figure]) -> None:
    """Print a table with its notes, write its figure, say where."""
    from rich.console import Console

    from riverrun.cli.grids import print_grid
    from riverrun.drawing import write_figure

    console = Console(highlight=False)
    print_grid(console, grid)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_figure(target, draw)
    console.print(f"Figure: {target}", soft_wrap=True, markup=False)
