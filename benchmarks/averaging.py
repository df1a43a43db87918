"""What an update of a track costs, beside the memory traffic it cannot avoid.

    python benchmarks/averaging.py [--threads 1] [--rounds 15]

The floor reads the average, reads the parameters and writes the average (12 bytes per fp32 parameter, 10 per
bf16 one) and computes next to nothing: one ``average.add_(parameters)`` over a flat fp32 buffer, for bf16
scaled by the bytes. Every method is timed once per round, in turn, so that a slow moment of the machine hits
all of them; the table shows medians of the rounds, and the median of each round's ratio to its own floor.
With bf16 parameters the averages of AveragedModel are bf16 too: less traffic, but they stall.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from riverrun.averaging import HalfLife, History, Track
from riverrun.runs import Tree
from riverrun.train import Quiet, load_recipe, open_session
from riverrun.train.journal import Journal
from riverrun.train.loop import advance
from riverrun.train.signals import StopSignals

QUICKSTART = Path(__file__).parents[1] / "recipes" / "quickstart.toml"

SIZES = {"0.15M": (64, 176, 3, 256), "3M": (256, 704, 3, 2048), "100M": (1024, 2816, 7, 10_000)}
"""Width, MLP width, layers and vocabulary of llama-like decoders."""
KEEP = 0.99


def parameters(width: int, mlp: int, layers: int, vocabulary: int, dtype: torch.dtype) -> list[Tensor]:
    """Tensors in the shapes of a decoder with tied embeddings."""
    block = [(width,), (width,), *[(width, width)] * 4, (mlp, width), (mlp, width), (width, mlp)]
    shapes = [(vocabulary, width), *(shape for _ in range(layers) for shape in block), (width,)]
    return [torch.randn(shape).to(dtype) for shape in shapes]


def in_a_model(params: list[Tensor]) -> torch.nn.Module:
    """A module that only holds the parameters."""
    return torch.nn.ParameterList([torch.nn.Parameter(p) for p in params])


def methods(params: list[Tensor]) -> dict[str, Callable[[], object]]:
    """One update by each method; the first is the floor."""
    flat = torch.cat([p.float().reshape(-1) for p in params])
    flat_average = torch.zeros_like(flat)
    track = Track(params, HalfLife(25))
    history = History(params)
    history.update(params, 100_000)  # far into a run, where blocks seldom close
    averages = [torch.zeros_like(p, dtype=torch.float32) for p in params]
    model = in_a_model(params)
    averaged = AveragedModel(model, avg_fn=lambda a, p, n: KEEP * a + (1 - KEEP) * p)
    ema = get_ema_multi_avg_fn(KEEP)
    averaged_multi = AveragedModel(model, multi_avg_fn=ema)

    def naive() -> None:
        for average, param in zip(averages, params, strict=True):
            average.copy_(KEEP * average + (1 - KEEP) * param)

    return {
        "floor (add_, one buffer)": lambda: flat_average.add_(flat, alpha=1e-3),
        "Track.update": lambda: track.update(params, track.step + 1),
        "History.update": lambda: history.update(params, history.step + 1),
        "AveragedModel, EMA multi_avg_fn": lambda: averaged_multi.update_parameters(model),
        "AveragedModel, avg_fn per tensor": lambda: averaged.update_parameters(model),
        "a.copy_(d*a + (1-d)*p) per tensor": naive,
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds per call, for each round; short calls are repeated within a round."""
    repeats = {}
    for name, call in calls.items():
        call()  # the first call allocates what later ones reuse
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(0.003 / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return seconds


def share_of_a_step(rounds: int, with_history: bool, position: int = 0, steps: int = 40) -> list[float]:
    """For each round, the share of the quickstart's training time that its averages take, updated every step.

    A history closes blocks often at the beginning of a run and seldom later: `position` is where to look.
    """
    silent = Quiet()
    recipe = load_recipe(QUICKSTART, ["readouts.first=99x", "checkpoints.first=99x", "checkpoints.every=99x"])
    with tempfile.TemporaryDirectory() as folder:
        node = Tree(Path(folder)).trunk
        with node.locked():
            session = open_session(recipe, node, silent.note)
            state, journal = session.state, Journal(session, silent)
            state.step = position
            if not with_history:
                state.history = None
            update, spent = state.update_averages, [0.0]

            def timed_update() -> None:
                start = time.perf_counter()
                update()
                spent[0] += time.perf_counter() - start

            state.update_averages = timed_update  # type: ignore[method-assign]
            advance(session, state.step + steps, StopSignals(), journal)
            shares = []
            for _ in range(rounds):
                spent[0], start = 0.0, time.perf_counter()
                advance(session, state.step + steps, StopSignals(), journal)
                shares.append(spent[0] / (time.perf_counter() - start))
            journal.close()
    return shares


def main() -> None:
    """Print one table per size and dtype, and the share of a real step."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=15)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for size, shape in SIZES.items():
        for dtype, byte_share in ((torch.float32, 1.0), (torch.bfloat16, 10 / 12)):
            params = parameters(*shape, dtype)
            seconds = measure(methods(params), options.rounds)
            floors = [byte_share * s for s in next(iter(seconds.values()))]
            count = sum(p.numel() for p in params)
            print(
                f"\n{size}: {count:,} {dtype} parameters in {len(params)} tensors, {options.threads} threads"
            )
            for name, times in seconds.items():
                ratio = median(t / floor for t, floor in zip(times, floors, strict=True))
                print(f"  {name:<34} {median(times) * 1e6:12,.1f} us {ratio:8.2f} x floor")
    print("\nShare of the quickstart's training time, updated every step")
    for name, with_history, position in (
        ("two tracks", False, 0),
        ("two tracks and a history, from step 0", True, 0),
        ("two tracks and a history, from step 1,000", True, 1_000),
        ("two tracks and a history, from step 4,000", True, 4_000),
    ):
        shares = share_of_a_step(options.rounds, with_history, position)
        print(f"  {name:<42} {median(shares):.2%}")


if __name__ == "__main__":
    main()
