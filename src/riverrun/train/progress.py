"""Telling a person how training goes: a bar on a terminal, a line every few seconds elsewhere, or nothing."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from riverrun.averaging import parse_profile
from riverrun.models import count_parameters, training_flops_per_token
from riverrun.runs.metrics import Record
from riverrun.train.hardware import peak_flops
from riverrun.train.plan import Plan
from riverrun.train.readouts import best_readout, readout_names
from riverrun.units import short_count, short_time

_SECONDS_BETWEEN_LINES = 5.0
_WINDOW = 20.0


class Progress(Protocol):
    """What the trainer tells."""

    def begin(self, plan: Plan, step: int, stop: float) -> None:
        """Training goes from position `step` to `stop`."""

    def step(self, record: Record) -> None:
        """An update was done."""

    def readout(self, record: Record) -> None:
        """The held-out losses of a position are known."""

    def note(self, text: str) -> None:
        """Something worth a line happened; threads that feed trackers tell it as well."""

    def end(self) -> None:
        """Training is over."""


class Quiet:
    """Says nothing; warnings are in the node's events."""

    def begin(self, plan: Plan, step: int, stop: float) -> None:
        """Nothing."""

    def step(self, record: Record) -> None:
        """Nothing."""

    def readout(self, record: Record) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Speed:
    """Tokens per second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, tokens: int) -> float:
        """Note the position; the speed since the oldest one still in the window, 0 at first."""
        now = time.monotonic()
        self._seen.append((now, tokens))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        return (tokens - before) / (now - since) if now > since else 0.0


class Shown:
    """Progress on a console, at most a few times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._speed = Speed()
        self._bar: RichProgress | None = None
        self._task = TaskID(0)
        self._interval = 0.2 if console.is_terminal else _SECONDS_BETWEEN_LINES
        self._shown = time.monotonic()
        self._averaged = ""
        self._flops_per_token = self._peak_flops = 0.0
        self._goal = 0

    def opening(self, plan: Plan, step: int, stop: float) -> str:
        """What is about to be trained, from where to where."""
        counts, recipe = count_parameters(plan.decoder), plan.recipe
        names = [parse_profile(spec).name for spec in recipe.averaging.tracks]
        averages = ", ".join([*names, *(["a history"] if recipe.averaging.history else [])]) or "none"
        goal = "until interrupted" if stop == float("inf") else f"to step {int(stop):,}"
        return (
            f"{plan.decoder.family}, {short_count(counts.total)} parameters ({short_count(counts.non_embedding)} "
            f"without embeddings; 1x is {short_count(plan.tokens_per_x)} tokens), {plan.schedule.kind} learning rate, "
            f"averages: {averages}, {recipe.engine.device} in {recipe.engine.precision}; from step {step:,} {goal}"
        )

    def begin(self, plan: Plan, step: int, stop: float) -> None:
        """Show the bar, where there is a terminal."""
        self.note(self.opening(plan, step, stop))
        self._flops_per_token = training_flops_per_token(plan.decoder)
        self._peak_flops = _peak_flops(plan)
        tokens = plan.tokens(step)
        self._goal = plan.tokens(int(stop)) if stop != float("inf") else 0
        self._speed.update(tokens)
        if self._console.is_terminal and step < stop:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
            self._bar = RichProgress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("starting", total=self._goal or None, completed=tokens)
            self._bar.start()

    def step(self, record: Record) -> None:
        """Refresh, if it is time."""
        now = time.monotonic()
        if now - self._shown < self._interval:
            return
        self._shown = now
        tokens: int = record["tokens"]
        speed = self._speed.update(tokens)
        left = f"  {short_time((self._goal - tokens) / speed)} left" if self._goal and speed else ""
        used = f"  {speed * self._flops_per_token / self._peak_flops:.0%} of peak" if self._peak_flops else ""
        goal = f" of {short_count(self._goal)}" if self._goal else ""
        text = (
            f"step {record['step']:,}  {short_count(tokens)}{goal} tokens  loss {record['loss/train']:.3f}"
            f"{self._averaged}  lr {record['lr']:.2e}  {short_count(speed)} tok/s{used}{left}"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=tokens, description=text)
        else:
            self._console.print(text, highlight=False, soft_wrap=True)

    def readout(self, record: Record) -> None:
        """Print the held-out losses above the bar."""
        losses = "  ".join(f"{name} {record[f'loss/{name}']:.4f}" for name in readout_names(record))
        best = best_readout(record)
        self._averaged = f"  {best} {record[f'loss/{best}']:.3f}"
        self.note(f"readout at step {record['step']:,} ({short_count(record['tokens'])} tokens): {losses}")

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _peak_flops(plan: Plan) -> float:
    """bf16 FLOP/s of all GPUs that train, of which model FLOPs utilisation is a share; 0 where they are not known."""
    if plan.recipe.engine.device != "cuda" or plan.recipe.engine.precision != "bf16":
        return 0.0
    of_one = peak_flops(torch.cuda.get_device_name()) or 0.0
    return of_one * (dist.get_world_size() if dist.is_initialized() else 1)
