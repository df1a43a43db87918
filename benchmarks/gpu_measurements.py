"""What is measured on a GPU at a shape: speed and memory of each loop, the averages' share, a checkpoint's stall."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.gpu_device import begin_peak, forget, largest_that_fits, peak_memory, seconds
from benchmarks.gpu_loops import OwnLoop, PlainLoop, own_loop
from benchmarks.gpu_shapes import Shape
from benchmarks.gpu_trainer import nearest_llama, trainer_is_there, trainer_rounds

from riverrun.models import DecoderConfig, training_flops_per_token

LARGEST_MICROBATCH = 128


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What one loop reaches.

    Attributes:
        microbatch: sequences of a backward pass.
        tokens_per_second: from the median of the rounds.
        utilisation: model FLOPs of the peak; None where the device's peak is not known.
        memory: most bytes at once; None where they are not counted.
    """

    microbatch: int
    tokens_per_second: float
    utilisation: float | None
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and how much is measured.

    Attributes:
        device: what trains.
        peak: its FLOP/s, None where not known.
        rounds: of each loop.
        microbatch: the largest to try; smaller ones are tried where it does not fit.
        backend: of torch.compile, for the loops that are not riverrun's.
        folder: for runs and their checkpoints; None means where temporary files lie.
    """

    device: torch.device
    peak: float | None
    rounds: int
    microbatch: int
    backend: str
    folder: Path | None

    def speed(
        self, shape: Shape, config: DecoderConfig, microbatch: int, rounds: list[float], memory: int | None
    ) -> Speed:
        """Of a loop that took so many seconds for each round."""
        rate = shape.steps * shape.tokens / median(rounds)
        flops = training_flops_per_token(config) * rate
        return Speed(
            microbatch=microbatch,
            tokens_per_second=rate,
            utilisation=None if self.peak is None else flops / self.peak,
            memory=memory,
        )


def measure(shape: Shape, bench: Bench) -> dict[str, Any]:
    """Everything at one shape, as plain data."""
    largest = min(bench.microbatch, shape.sequences)

    def at_most(measurement: Callable[[Shape, Bench, int], dict[str, Any]]) -> dict[str, Any]:
        forget(bench.device)
        return largest_that_fits(largest, bench.device, partial(measurement, shape, bench))

    result = {"shape": shape.name, "aim": shape.utilisation, "rounds": bench.rounds, "steps": shape.steps}
    result |= at_most(measure_own)
    result |= at_most(measure_plain)
    if trainer_is_there():
        result |= at_most(measure_trainer)
    forget(bench.device)
    return result


def measure_own(shape: Shape, bench: Bench, microbatch: int) -> dict[str, Any]:
    """riverrun's loop with and without averages, in rounds by turns, and what a checkpoint costs it."""
    device = bench.device
    with own_loop(shape, microbatch, device, bench.folder) as loop:
        begin_peak(device)
        loop.run(max(2, shape.steps))  # compiles
        arms = {"with": loop.run, "without": loop.run_without_averages}
        taken: dict[str, list[float]] = {name: [] for name in arms}
        for number in range(bench.rounds):
            for name in list(arms)[:: 1 if number % 2 else -1]:
                taken[name].append(seconds(device, partial(arms[name], shape.steps)))
        memory = peak_memory(device)
        stall = checkpoint_stall(loop, shape, device, median(taken["with"]))
    speeds = {
        f"riverrun, {name} averages": bench.speed(shape, shape.decoder, microbatch, rounds, memory)
        for name, rounds in taken.items()
    }
    pairs = zip(taken["with"], taken["without"], strict=True)
    return {
        **{name: dataclasses.asdict(speed) for name, speed in speeds.items()},
        "averaging_share": median(1 - without / with_averages for with_averages, without in pairs),
        "checkpoint_stall": stall,
    }


def checkpoint_stall(loop: OwnLoop, shape: Shape, device: torch.device, round_seconds: float) -> float:
    """Seconds that the loop loses to a checkpoint: a round that begins with one, less a round without.

    So counts both what the loop waits for and what a save in the background takes from the steps after it. The
    first checkpoint also writes a history's blocks, which later ones share; it is not counted.
    """
    loop.checkpoint()
    loop.settle()
    loop.run(shape.steps)

    def with_checkpoint() -> None:
        loop.checkpoint()
        loop.run(shape.steps)

    return seconds(device, with_checkpoint) - round_seconds


def measure_plain(shape: Shape, bench: Bench, microbatch: int) -> dict[str, Any]:
    """The compiled loop as people write it."""
    begin_peak(bench.device)
    loop = PlainLoop(shape, microbatch, bench.device, bench.backend)
    loop.run(max(2, shape.steps))
    taken = [seconds(bench.device, partial(loop.run, shape.steps)) for _ in range(bench.rounds)]
    speed = bench.speed(shape, shape.decoder, microbatch, taken, peak_memory(bench.device))
    return {"plain compiled loop": dataclasses.asdict(speed)}


def measure_trainer(shape: Shape, bench: Bench, microbatch: int) -> dict[str, Any]:
    """Hugging Face Trainer, whose model is a little another one: its utilisation counts its own FLOPs."""
    begin_peak(bench.device)
    taken = trainer_rounds(shape, microbatch, bench.device, bench.backend, bench.rounds)
    config = nearest_llama(shape.decoder)
    speed = bench.speed(shape, config, microbatch, taken, peak_memory(bench.device))
    return {"Hugging Face Trainer, Llama": dataclasses.asdict(speed)}
