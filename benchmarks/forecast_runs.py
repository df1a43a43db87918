"""How well runs of this package are forecast: from a constant trunk and one short decay to other schedules.

    python benchmarks/forecast_runs.py [--runs runs/forecast] [--peaks 4e-3 2e-3] [--seeds 0 1 2] [--curves FOLDER]

Trains a byte-level decoder of 0.1M parameters on the bundled text, 4,096 steps a run with a readout each time the
tokens have grown by 2.5%, or takes what lies in the folder already; half an hour on two cores for each peak.

- Schedules: laws are fitted to the trunk up to a position, and to a decay of 256 steps from step 1,024. They predict
  what cosine, WSD, WSD-S and 1/sqrt(t) measured, which no fit has seen. With "averages", the trunk's own two are fitted
  along.
- Averages: the law is fitted to raw losses alone, of all runs of a seed; what averages and merges measured is held
  against the decays that they amount to.

Errors are relative to the measured loss. --curves writes the raw losses of the first seed as CSV files.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from riverrun.averaging import HalfLife, Profile, parse_profile
from riverrun.cli.app import main as riverrun
from riverrun.forecast import Curve, Fit, Law, MomentumLaw, MultiPowerLaw, RiverLaw, fit, predict
from riverrun.forecast.merges import rates_of_merge
from riverrun.forecast.scoring import prediction_of
from riverrun.grid import Grid, markdown_table
from riverrun.runs import Node, Tree
from riverrun.train.costs import recorded_plan

RECIPE = """
[model]
family = "llama"
layers = 2
width = 64
heads = 2
context = 128
tied = true
[data]
corpus = "bundled"
[batch]
sequences = 8
[optimizer]
name = "adamw"
peak_lr = 4e-3
betas = [0.9, 0.95]
weight_decay = 0.1
clip = 1.0
[schedule]
kind = "constant"
warmup = "50 steps"
[averaging]
tracks = ["half-life:25"]
[readouts]
first = "100 steps"
ratio = 1.025
sequences = 256
[checkpoints]
first = "256 steps"
ratio = 2.0
every = "4000 steps"
at = ["1024 steps", "1843 steps", "3686 steps", "2048 steps"]
[metrics]
every = 1
[engine]
device = "cpu"
threads = 1
precision = "fp32"
"""
TRACKS = 'averaging.tracks=["half-life:25","half-life:100"]'
PROFILES: dict[str, Profile] = {"ema-25": HalfLife(25), "ema-100": HalfLife(100)}
TRUNK, SHORT = "constant", "short decay"
RUNS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "trunk": (TRUNK, 4096, (TRACKS,)),
    "cosine4096": ("cosine, 4,096 steps", 4096, ("schedule.kind=cosine", 'schedule.total="4096 steps"')),
    "cosine2048": ("cosine, 2,048 steps", 2048, ("schedule.kind=cosine", 'schedule.total="2048 steps"')),
    "wsds": (
        "WSD-S, 1,024 / 2,048 / 4,096",
        4400,
        ("schedule.kind=wsds", 'schedule.budgets=["1024 steps","2048 steps","4096 steps"]'),
    ),
    "isqrt": ("1/sqrt(t)", 4096, ("schedule.kind=inverse-sqrt", 'schedule.offset="256 steps"', TRACKS)),
}
"""Folder -> name, last step, settings."""
BRANCHES = {
    "short": (SHORT, 1024, 256),
    "wsd4096": ("WSD, 4,096 steps", 3686, 410),
    "wsd2048": ("WSD, 2,048 steps", 1843, 205),
}
"""Folder -> name, fork, length."""
UNTIL = (2048, 4096)
FIRST = 200
"""Four times the warm-up: laws are about what follows."""
AVERAGES = (
    "tail:0.05",
    "tail:0.1",
    "tail:0.2",
    "tail:0.5",
    "decay-like:sqrt:0.2",
    "half-life:6.25",
    "uniform:from=410",
)
MERGED = (3584, 3712, 3840, 3968, 4096)
AVERAGED = (
    TRACKS,
    "averaging.history.resolution=4",
    "checkpoints.at=[" + ", ".join(f'"{step} steps"' for step in (1024, 1843, 2048, 3686, *MERGED)) + "]",
)


def run(*words: str) -> None:
    """One command of riverrun."""
    if code := riverrun([*words]):
        raise SystemExit(code)


def train(folder: Path, peak: str, seed: int) -> None:
    """Every run of a seed; those that are there already are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    for name, (_, last, settings) in RUNS.items():
        sets = [
            word
            for one in (f"seed={seed}", f"optimizer.peak_lr={peak}", *settings)
            for word in ("--set", one)
        ]
        run("train", str(recipe), "--run", str(folder / name), "--until", f"{last} steps", "--quiet", *sets)
    for name, (_, fork, length) in BRANCHES.items():
        decay = ["--at", str(fork), "--length", f"{length} steps", "--name", name, "--quiet"]
        run("branch", str(folder / "trunk"), *decay)


def node_of(folder: Path, name: str) -> Node:
    """The node of a run or branch."""
    return Tree.open(folder / "trunk").node(name) if name in BRANCHES else Tree.open(folder / name).trunk


def curve(node: Node, name: str, readout: str = "raw", last: int = 10**9) -> Curve:
    """Held-out losses of a readout."""
    plan = recorded_plan(node)
    first = max(FIRST, node.parent.step + 1 if node.parent else 0)
    points = [
        (record["step"], record[f"loss/{readout}"])
        for record in node.readouts()
        if first <= record["step"] <= last and f"loss/{readout}" in record
    ]
    steps, losses = np.array(points).T
    peak = plan.recipe.optimizer.peak_lr
    made = Curve.of_schedule(name, plan.schedule, steps.astype(int), losses, peak_lr=peak, series="held-out")
    return replace(made, profile=PROFILES.get(readout))


def raw_curves(folder: Path) -> dict[str, Curve]:
    """The raw losses of every run of a seed, by name."""
    named = {name: facts[0] for name, facts in (*RUNS.items(), *BRANCHES.items())}
    return {title: curve(node_of(folder, name), title) for name, title in named.items()}


def trunk_averages(folder: Path, last: int) -> list[Curve]:
    """The trunk's two averages up to a position."""
    return [curve(node_of(folder, "trunk"), name, name, last) for name in PROFILES]


@dataclass(frozen=True)
class End:
    """How the end of a run was predicted: the losses, and whether the measured one lay within the interval."""

    measured: float
    expected: float
    half_width: float
    inside: bool
    mean_error: float


def ends_of(fitted: Fit, curves: dict[str, Curve]) -> dict[str, End]:
    """Of each curve that no fit saw the end, and the mean error along the whole of it."""
    found = {}
    for name, one in curves.items():
        if name in (TRUNK, SHORT):
            continue
        predicted = prediction_of(fitted, one)
        measured, low, high = one.losses[-1], predicted.low[-1], predicted.high[-1]
        found[name] = End(
            float(measured),
            float(predicted.expected[-1]),
            float(high - low) / 2,
            bool(low <= measured <= high),
            float(np.abs(predicted.expected / one.losses - 1).mean()),
        )
    return found


def schedules_table(folders: Sequence[Path], peak: str, law: Law, until: int, averages: bool) -> Grid:
    """One row for each schedule, over the seeds."""
    per_seed = []
    for folder in folders:
        curves = raw_curves(folder)
        seen = [curves[TRUNK].between(1, until), curves[SHORT]]
        per_seed.append(ends_of(fit(seen + (trunk_averages(folder, until) if averages else []), law), curves))
    rows = []
    for name in per_seed[0]:
        ends = [one[name] for one in per_seed]
        errors = [end.expected / end.measured - 1 for end in ends]
        rows.append(
            (
                name,
                f"{np.mean([end.measured for end in ends]):.4f}",
                f"{np.mean([end.expected for end in ends]):.4f} ± {np.mean([end.half_width for end in ends]):.4f}",
                ", ".join(f"{100 * error:+.1f}%" for error in errors),
                f"{100 * np.mean([end.mean_error for end in ends]):.2f}%",
                f"{sum(end.inside for end in ends)} of {len(ends)}",
            )
        )
    along = ", and its averages" if averages else ""
    return Grid(
        title=f"Peak {peak}, {law.name} law from the trunk up to step {until:,}{along}, and the short decay",
        headings=(
            "schedule",
            "measured",
            "predicted",
            "error of each seed",
            "mean error on the way",
            "inside 90%",
        ),
        rows=tuple(rows),
    )


def averages_table(folder: Path, peak: str, seed: int) -> Grid:
    """Averages and merges of one trunk, against the decays that they amount to."""
    trained = folder / "averaged"
    recipe = folder / "recipe.toml"
    sets = [
        word for one in (f"seed={seed}", f"optimizer.peak_lr={peak}", *AVERAGED) for word in ("--set", one)
    ]
    run("train", str(recipe), "--run", str(trained), "--until", "4096 steps", "--quiet", *sets)
    node = Tree.open(trained).trunk
    if not node.averages():
        for at in ("2048", "4096"):
            profiles = [word for spec in AVERAGES for word in ("--profile", spec)]
            run("average", str(trained), "--at", at, "--max-bound", "0.5", *profiles)
    merged = trained / "merged"
    if not merged.exists():
        parts = [str(node.checkpoint_folder / f"{step:08d}") for step in MERGED]
        run("merge", *parts, "--out", str(merged), "--score", "--quiet")
    curves = raw_curves(folder)
    fitted = fit([curve(node, TRUNK), *(one for name, one in curves.items() if name != TRUNK)])
    lr = curves[TRUNK].lr
    rows = []

    def row(name: str, at: int, measured: float, expected: float) -> None:
        error = expected / measured - 1
        rows.append((name, f"{at:,}", f"{measured:.4f}", f"{expected:.4f}", f"{100 * error:+.2f}%"))

    for record in node.averages():
        profile = parse_profile(record["profile"])
        at = record["step"]
        expected = predict(fitted, lr, [at], profile=profile).expected[0]
        row(profile.name, at, record[f"loss/{profile.name}"], float(expected))
    for name, profile in PROFILES.items():
        one = curve(node, name, name)
        errors = predict(fitted, lr, one.steps, profile=profile).expected / one.losses - 1
        mean = f"{100 * np.abs(errors).mean():.2f}% (from {100 * errors.min():+.2f}% to {100 * errors.max():+.2f}%)"
        rows.append((name, f"{one.steps[0]:,} to {one.steps[-1]:,}", "", "", mean))
    for merge in Tree.open(trained).merges():
        record = merge.averages()[-1]
        expected = predict(fitted, rates_of_merge(lr, MERGED), [MERGED[-1]]).expected[0]
        row(
            f"merge of {len(MERGED)} checkpoints, 128 steps apart",
            MERGED[-1],
            record["loss/merged"],
            float(expected),
        )
    return Grid(
        title=f"Peak {peak}: averages of a constant trunk, and the decays that they amount to by a law of raw losses",
        headings=("average", "step", "measured", "predicted", "error"),
        rows=tuple(rows),
    )


def write_curves(folder: Path, out: Path) -> None:
    """Raw losses and the trunk's averages as CSV files: step, lr, loss."""
    out.mkdir(parents=True, exist_ok=True)
    curves = {name: curve(node_of(folder, name), name) for name in (*RUNS, *BRANCHES)}
    curves |= {f"trunk-{name}": curve(node_of(folder, "trunk"), name, name) for name in PROFILES}
    for name, one in curves.items():
        with open(out / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("step", "lr", "loss"))
            for step, loss in zip(one.steps, one.losses, strict=True):
                writer.writerow((step, json.dumps(float(one.lr[step - 1])), f"{loss:.5f}"))


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/forecast"))
    parser.add_argument("--peaks", nargs="+", default=["4e-3", "2e-3"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--curves", type=Path)
    options = parser.parse_args()
    for peak in options.peaks:
        folders = [options.runs / f"peak-{peak}" / f"seed-{seed}" for seed in options.seeds]
        for folder, seed in zip(folders, options.seeds, strict=True):
            train(folder, peak, seed)
        for until in UNTIL:
            for law, averages in (
                (RiverLaw(), False),
                (RiverLaw(), True),
                (MultiPowerLaw(), False),
                (MomentumLaw(), False),
            ):
                print(markdown_table(schedules_table(folders, peak, law, until, averages)))
        print(markdown_table(averages_table(folders[0], peak, options.seeds[0])))
    if options.curves:
        write_curves(options.runs / f"peak-{options.peaks[0]}" / f"seed-{options.seeds[0]}", options.curves)


if __name__ == "__main__":
    main()
