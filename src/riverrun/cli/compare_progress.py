"""What `compare` prints before its runs and on the way: the cost, and what is done."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from riverrun.compare.arms import Design
from riverrun.compare.comparison import expected_tokens
from riverrun.compare.cost import Cost
from riverrun.compare.runs import Run, tokens_of
from riverrun.runs.metrics import to_json
from riverrun.units import short_bytes, short_count, short_time


def print_cost(console: Console, design: Design, cost: Cost, json: bool) -> None:
    """Runs, tokens, time and disk of a plan."""
    if json:
        from dataclasses import asdict

        print(to_json({**asdict(cost), "seconds": cost.seconds}))
        return
    plan, total = design.plan, cost.tokens + cost.repeated_tokens
    again = (
        f", and at least {cost.repeated_runs:,} of chosen points on other seeds" if cost.repeated_runs else ""
    )
    points = sum(len(plan.points(arm)) for arm in plan.arms)
    rows = {
        "arms": f"{len(plan.arms)}: {', '.join(plan.arms)}",
        "budgets": ", ".join(
            f"{budget} ({step:,} steps)" if budget.unit != "steps" else str(budget)
            for budget, step in zip(plan.budgets, design.budgets, strict=True)
        ),
        "sweep": f"{points} points in all, on seeds {', '.join(map(str, plan.tuned_on))}",
        "runs": f"{cost.runs:,}{again}",
        "tokens": f"{short_count(total)}, instead of {short_count(cost.alone)} without shared trunks "
        f"({1 - total / cost.alone:.0%} saved)",
        "time": f"{short_time(cost.seconds)} with {cost.workers} workers on this machine",
        "disk": short_bytes(cost.disk),
    }
    for name, text in rows.items():
        console.print(f"{name:8s} {text}", soft_wrap=True, markup=False)


class Told:
    """Tells of runs as they end: a bar on a terminal, a line each elsewhere."""

    def __init__(self, console: Console, design: Design, quiet: bool) -> None:
        self._console = console
        self._vocabulary = design.vocabulary
        self._quiet = quiet
        columns = (
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._bar = Progress(
            *columns, console=console, transient=True, disable=quiet or not console.is_terminal
        )
        self._goal = expected_tokens(design)
        self._task = self._bar.add_task("starting", total=self._goal)
        self._tokens = 0
        self._runs = 0

    def __enter__(self) -> Told:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, run: Run, what: str) -> None:
        """Note how a run ended."""
        if self._quiet:
            return
        if what == "done":
            self._runs += 1
            self._tokens += tokens_of(run, self._vocabulary)
        gone = f"{self._runs} runs, {short_count(self._tokens)} of {short_count(self._goal)} tokens"
        self._bar.update(self._task, completed=self._tokens, description=gone)
        if what != "done" or not self._console.is_terminal:
            self._console.print(f"{gone}: {run.tree}/{run.node} {what}", soft_wrap=True, markup=False)
