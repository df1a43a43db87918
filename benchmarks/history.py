"""How near the averages that a history gives come to the averages of all iterates, on a real trunk.

    python benchmarks/history.py [--recipe FILE] [--steps 3000] [--set path=value]

One run feeds every history, and sums all of its iterates in fp64 with the weights of every profile: no iterate is left
out. Held against these sums, at the end, in the middle, and at an earlier position by what the end still has of it:

- histories of several resolutions and dtypes;
- 20 snapshots over the last half of the run, the usual practice: each stands for the iterates since the one before.

Error: the distance to the exact average, relative to the last iterate's. Losses are those of the run's held-out
windows, in fp32 whatever the run's precision, so that they differ by the weights alone.
"""

import argparse
import platform
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from riverrun.averaging import History, Profile, applied, parse_profile
from riverrun.models import count_parameters
from riverrun.runs import Tree
from riverrun.train import Quiet, Session, load_recipe, open_session
from riverrun.train.journal import Journal
from riverrun.train.loop import advance
from riverrun.train.readouts import evaluate
from riverrun.train.signals import StopSignals

QUICKSTART = Path(__file__).parents[1] / "recipes" / "quickstart.toml"
OVERRIDES = (
    "averaging.tracks=[]",
    "readouts.first=999x",
    "readouts.sequences=256",
    "checkpoints.first=999x",
    "checkpoints.every=999x",
)

PROFILES = [
    *(parse_profile(f"tail:{alpha}") for alpha in (0.02, 0.05, 0.1, 0.2, 0.5)),
    *(parse_profile(f"half-life:{f}") for f in (100, 25, 6.25)),
    *(parse_profile(f"decay-like:{shape}:0.2") for shape in ("sqrt", "cosine")),
    parse_profile("uniform"),
]
PLACES = ((1.0, 1.0), (0.5, 0.5), (0.9, 1.0))
"""The position of an average, and of the history that it is made from, as fractions of the run."""
HISTORIES = {
    "r=2": (2, torch.float32),
    "r=3": (3, torch.float32),
    "r=4": (4, torch.float32),
    "r=4, bf16": (4, torch.bfloat16),
    "r=8": (8, torch.float32),
}
"""Resolution, and dtype of closed blocks."""
SNAPSHOTS = 20
FEWEST_STEPS = 200
"""The shortest tail in the middle has two iterates then."""
LIMIT = 1e-3
"""Nats by which no loss may differ at resolution 4."""
# Iterates that are summed at a time.
_ITERATES = 64


class WeightedSums:
    """Sums over all iterates, in fp64, with weights that are given beforehand.

    Args:
        weights: for each sum the weights of the iterates 1, 2, ...; those beyond have none.
        parameters: the live tensors.
        steps: how many iterates there will be.
    """

    def __init__(
        self, weights: Mapping[Hashable, np.ndarray], parameters: Sequence[Tensor], steps: int
    ) -> None:
        self._names, self._parameters = list(weights), parameters
        rows = [torch.from_numpy(np.pad(row, (0, steps - len(row)))) for row in weights.values()]
        self._weights = torch.stack(rows)
        elements = sum(parameter.numel() for parameter in parameters)
        self._waiting = torch.empty(_ITERATES, elements)
        self._sums = torch.zeros(len(rows), elements, dtype=torch.float64)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the iterate of a position; they come one by one."""
        place = (step - 1) % _ITERATES
        torch.cat([parameter.reshape(-1) for parameter in self._parameters], out=self._waiting[place])
        if place == _ITERATES - 1 or step == self._weights.shape[1]:
            weights = self._weights[:, step - 1 - place : step]
            self._sums.addmm_(weights, self._waiting[: place + 1].double())

    def totals(self) -> dict[Hashable, Tensor]:
        """The sums, each flat."""
        return dict(zip(self._names, self._sums, strict=True))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One average, made in several ways (the columns).

    Attributes:
        at, kept: its position, and that of the histories.
        gain: loss of the last iterate less that of the exact average, in nats.
        error: distance to the exact average over that of the last iterate.
        bound: of the histories, total variation.
        difference: loss less that of the exact average, in nats.
    """

    profile: Profile
    at: int
    kept: int
    gain: float
    error: dict[str, float]
    bound: dict[str, float]
    difference: dict[str, float]


def weights_of_snapshots(profile: Profile, at: int) -> np.ndarray:
    """The weights of the iterates 1 .. at where there are snapshots alone; what lies before them is left out."""
    kept = np.linspace(at / 2, at, SNAPSHOTS + 1).round().astype(int)
    shares = np.diff(profile.cumulative(kept, at))
    weights = np.zeros(at)
    weights[kept[1:] - 1] = shares / shares.sum()
    return weights


def measure(session: Session, journal: Journal, steps: int) -> tuple[list[Row], dict[str, History]]:
    """Train, and make every average in every way."""
    parameters = session.state.parameters
    histories = {
        name: History(parameters, resolution, dtype=dtype) for name, (resolution, dtype) in HISTORIES.items()
    }
    places = [(round(at * steps), round(kept * steps)) for at, kept in PLACES]
    weights: dict[Hashable, np.ndarray] = {}
    for at, _ in places:
        weights["last", at] = np.eye(1, at, at - 1)[0]
        for profile in PROFILES:
            weights["exact", at, profile] = profile.weights(at)
            weights["snapshots", at, profile] = weights_of_snapshots(profile, at)
    sums = WeightedSums(weights, parameters, steps)
    made: dict[Hashable, Tensor] = {}
    bounds: dict[Hashable, float] = {}
    for step in range(1, steps + 1):
        advance(session, step, StopSignals(), journal)
        sums.update(step)
        for name, history in histories.items():
            history.update(parameters, step)
            for at in (at for at, kept in places if kept == step):
                for average in history.reconstruct_all(PROFILES, at):
                    made[name, at, average.profile] = flat(average)
                    bounds[name, at, average.profile] = average.bound
    made |= sums.totals()

    rows = []
    for at, kept in places:
        last = made["last", at]
        last_loss = loss(session, last)
        for profile in PROFILES:
            exact = made["exact", at, profile]
            exact_loss = loss(session, exact)
            # Who keeps the snapshots of another position's last half has none of these.
            columns = [*histories, "snapshots"] if at == kept else list(histories)
            found = {name: made[name, at, profile] for name in columns}
            rows.append(
                Row(
                    profile=profile,
                    at=at,
                    kept=kept,
                    gain=last_loss - exact_loss,
                    error={name: distance(one, exact) / distance(last, exact) for name, one in found.items()},
                    bound={name: bounds[name, at, profile] for name in histories},
                    difference={name: loss(session, one) - exact_loss for name, one in found.items()},
                )
            )
    return rows, histories


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All elements in a row, in fp64."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors]).double()


def distance(one: Tensor, other: Tensor) -> float:
    """Euclidean."""
    return torch.linalg.vector_norm(one - other).item()


def loss(session: Session, weights: Tensor) -> float:
    """Held-out nats per token of flat weights."""
    parameters = session.state.parameters
    parts = weights.split([parameter.numel() for parameter in parameters])
    values = [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
    with applied(parameters, values):
        return evaluate(
            session.state.model, session.windows.report, replace(session.engine, precision="fp32")
        )


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with its numbers on the right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def costs(histories: Mapping[str, History]) -> str:
    """Blocks at the end and at most, and what they take."""
    lines = []
    for name, history in histories.items():
        blocks, most = len(history.spans()), history.layout.most_blocks
        # The open block is fp32.
        size, largest = (4 + (count - 1) * history.dtype.itemsize for count in (blocks, most))
        lines.append([name, f"{blocks}", f"{size}", f"{most}", f"{largest}"])
    lines.append(["snapshots", f"{SNAPSHOTS}", f"{4 * SNAPSHOTS}", f"{SNAPSHOTS}", f"{4 * SNAPSHOTS}"])
    return table(["kept", "at the end", "bytes/parameter", "at most", "bytes/parameter"], lines)


def errors(rows: Sequence[Row]) -> str:
    """Errors, with the bounds of the histories."""
    lines = []
    for row in rows:
        cells = [
            f"{error:.2%} ({row.bound[name]:.3f})" if name in row.bound else f"{error:.0%}"
            for name, error in row.error.items()
        ]
        lines.append([row.profile.name, *cells])
    return table(["error (bound)", *rows[0].error], lines)


def differences(rows: Sequence[Row]) -> str:
    """Differences in loss in thousandths of a nat, beside what the average gains."""
    lines = []
    for row in rows:
        cells = [f"{1e3 * difference:+.3f}" for difference in row.difference.values()]
        lines.append([row.profile.name, f"{1e3 * row.gain:+.1f}", *cells])
    return table(["loss, 1e-3 nats", "gain", *rows[0].difference], lines)


def verdict(rows: Sequence[Row]) -> str:
    """Which losses differ by more than the limit at resolution 4."""
    found = [(row, name) for row in rows for name, (resolution, _) in HISTORIES.items() if resolution == 4]
    beyond = [
        f"{row.profile.name} ({name}, bound {row.bound[name]:.3f})"
        for row, name in found
        if not abs(row.difference[name]) < LIMIT
    ]
    return f"Differences of {LIMIT:g} nats or more at resolution 4: {', '.join(beyond) or 'none'}."


def main() -> None:
    """Train, and print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--recipe", type=Path, default=QUICKSTART)
    arguments.add_argument("--steps", type=int, default=3000)
    arguments.add_argument("--set", action="append", default=[], metavar="path=value")
    options = arguments.parse_args()
    if options.steps < FEWEST_STEPS:
        arguments.error(f"--steps: got {options.steps}; must be at least {FEWEST_STEPS}")
    recipe = load_recipe(options.recipe, [*OVERRIDES, *options.set])
    silent = Quiet()
    with tempfile.TemporaryDirectory() as folder:
        node = Tree(Path(folder)).trunk
        with node.locked():
            session = open_session(recipe, node, silent.note)
            journal = Journal(session, silent)
            rows, histories = measure(session, journal, options.steps)
            journal.close()
    windows = session.windows.report
    print(
        f"{count_parameters(session.plan.decoder).total:,} parameters, {options.steps:,} steps, seed {recipe.seed}, "
        f"precision {session.engine.precision}; {len(windows.tokens)} held-out windows, "
        f"{windows.target_count:,} targets; {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}\n\n{costs(histories)}"
    )
    for at, kept in dict.fromkeys((row.at, row.kept) for row in rows):
        there = [row for row in rows if (row.at, row.kept) == (at, kept)]
        print(f"\n## At step {at:,}, from the history of step {kept:,}\n")
        print(f"{errors(there)}\n\n{differences(there)}\n\n{verdict(there)}")


if __name__ == "__main__":
    main()
