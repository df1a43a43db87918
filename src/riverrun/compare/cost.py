"""What a comparison will cost, before anything starts."""

from __future__ import annotations

from dataclasses import dataclass

from riverrun.compare.arms import Design
from riverrun.compare.comparison import first_points, sweep_models
from riverrun.compare.runs import Run, alone_tokens, plan_of, runs_for, union_tokens
from riverrun.train.engine import settle
from riverrun.train.estimate import estimate
from riverrun.train.memory import memory_of

# A forward pass takes about a third of a training step.
_FORWARD = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Runs, tokens, seconds on this machine with so many workers, and bytes on disk at the end.

    `repeated_*` is what the seeds besides the tuning seeds add, taken that each arm chooses one point. `evaluated` is
    in tokens too, forward passes only.
    """

    runs: int
    tokens: int
    repeated_runs: int
    repeated_tokens: int
    alone: int
    evaluated: int
    disk: int
    tokens_per_second: float
    workers: int

    @property
    def seconds(self) -> float:
        """With all workers busy to the end."""
        work = self.tokens + self.repeated_tokens + _FORWARD * self.evaluated
        return work / (self.tokens_per_second * self.workers)


def cost_of(design: Design, workers: int) -> Cost:
    """The cost of a plan; times a few real steps of the shared recipe."""
    swept, repeated = sweep_models(design), first_points(design)
    runs, again = runs_for(swept), runs_for(repeated)
    recipe, engine = settle(design.recipe)
    timed = estimate(plan_of(recipe, design.vocabulary), engine, 1)
    return Cost(
        runs=len(runs),
        tokens=union_tokens(swept, design.vocabulary),
        repeated_runs=len(again),
        repeated_tokens=union_tokens(repeated, design.vocabulary),
        alone=alone_tokens([*swept, *repeated], design.vocabulary),
        evaluated=sum(_evaluated(run, design) for run in (*runs, *again)),
        disk=sum(_disk(run, design) for run in (*runs, *again)),
        tokens_per_second=timed.tokens_per_second,
        workers=workers,
    )


def _evaluated(run: Run, design: Design) -> int:
    """Tokens of all readouts on the way, on the grid and at the stops."""
    plan = plan_of(run.recipe, design.vocabulary)
    on_grid = len(plan.readouts.points(plan.tokens(run.end))) - len(
        plan.readouts.points(plan.tokens(run.fork))
    )
    windows = run.recipe.readouts.sequences + run.recipe.readouts.select
    names = 1 + len(run.recipe.averaging.tracks)
    return (on_grid + len(run.stops)) * names * windows * plan.decoder.context


def _disk(run: Run, design: Design) -> int:
    """The fork points and the end."""
    kept = {*(int(at.amount) for at in run.recipe.checkpoints.at), run.end}
    return len(kept) * memory_of(plan_of(run.recipe, design.vocabulary)).checkpoint
