"""How well laws of the loss predict schedules that they have not seen, and how long a fit takes on one core.

    OMP_NUM_THREADS=1 python benchmarks/forecast.py [--curves DIR] [--trials 40] [--rounds 5]

- DIR holds a folder of published curves per model size: 25M/cosine_24000.csv with the columns step, lr, loss, and so
  on (riverrun.forecast.published). Laws are fitted to three curves and predict six; figures are means over the six.
  Without DIR this part is left out.
- inside is the share of measurements within their 90% intervals.
- Seconds of a fit are the median of the rounds, starts included, the reading of the files not.
- Coverage: curves made by the river law with parameters from its priors; see riverrun.forecast.coverage.
"""

import argparse
import time
from pathlib import Path
from statistics import median

from riverrun.forecast.coverage import DESIGNS, Scatter, coverage
from riverrun.forecast.fitting import Fit, fit, fit_jointly
from riverrun.forecast.laws import LAWS
from riverrun.forecast.published import FIGURES, Benchmark, read_benchmark, score_benchmark

SHARED = ("log alpha", "log beta", "gamma")
SCATTERS = (
    Scatter(size=1e-3, correlation=0.5),
    Scatter(size=4e-3),
    Scatter(size=4e-3, correlation=0.7),
)
FIGURE_NAMES = ("r2", "mae", "rmse", "mean", "worst")
HEADINGS = f"{'':24s}{'R2':>8s}{'MAE':>9s}{'RMSE':>9s}{'mean':>9s}{'worst':>9s}"


def show_size(size: str, benchmark: Benchmark, rounds: int) -> None:
    """One table: every law, and the published figures."""
    print(f"\n{size:24s}{HEADINGS[24:]}{'inside':>8s}{'fit, s':>8s}")
    for name, law in LAWS.items():
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            fitted = fit(benchmark.fitted, law)
            seconds.append(time.perf_counter() - began)
        print(row(name, fitted, benchmark) + f"{median(seconds):8.2f}")
    if size in FIGURES:
        print(line("multi-power, published", [getattr(FIGURES[size], name) for name in FIGURE_NAMES]))


def show_joint(benchmarks: dict[str, Benchmark]) -> None:
    """The river law fitted to all sizes at once."""
    began = time.perf_counter()
    fits = fit_jointly({size: one.fitted for size, one in benchmarks.items()}, shared=SHARED)
    seconds = time.perf_counter() - began
    print(f"\nriver, one fit of all sizes with {', '.join(SHARED)} in common: {seconds:.2f} s")
    for size, fitted in fits.items():
        print(row(size, fitted, benchmarks[size]))


def row(name: str, fitted: Fit, benchmark: Benchmark) -> str:
    """The means over the predicted curves."""
    score = score_benchmark(fitted, benchmark)["mean"]
    return line(name, [getattr(score, name) for name in FIGURE_NAMES]) + f"{score.inside:8.2f}"


def line(name: str, figures: list[float]) -> str:
    """R2 with four digits, errors with five."""
    r2, *errors = figures
    return f"{name:24s}{r2:8.4f}" + "".join(f"{error:9.5f}" for error in errors)


def show_coverage(trials: int) -> None:
    """One line per design and noise."""
    print(f"\nmeasurements within 90% intervals, {trials} simulated models each")
    for design in DESIGNS.values():
        for scatter in SCATTERS:
            found = coverage(design, scatter, trials)
            each = "  ".join(f"{name} {score.inside:.2f}" for name, score in found.scores.items())
            noise = f"noise {scatter.size:g}, correlation {scatter.correlation:g}"
            print(f"{design.name:26s}{noise:30s}{found.inside:.3f}   {each}", flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", type=Path, help="folder of folders of published curves")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.curves and options.curves.is_dir():
        folders = [path for path in options.curves.iterdir() if path.is_dir()]
        benchmarks = {path.name: read_benchmark(path) for path in sorted(folders, key=_parameters)}
        for size, benchmark in benchmarks.items():
            show_size(size, benchmark, options.rounds)
        if len(benchmarks) > 1:
            show_joint(benchmarks)
    else:
        where = f"{options.curves} is no folder" if options.curves else "no --curves given"
        print(f"published curves: {where}; this part is left out")
    show_coverage(options.trials)


def _parameters(folder: Path) -> tuple[float, str]:
    """25M before 100M."""
    digits = folder.name.rstrip("KMBkmb")
    unit = {"K": 1e3, "M": 1e6, "B": 1e9}.get(folder.name[len(digits) :].upper(), 1.0)
    return (float(digits) * unit if digits.isdecimal() else 0.0), folder.name


if __name__ == "__main__":
    main()
