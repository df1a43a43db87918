"""`Averager` against what a training script would otherwise take: time per update, memory, and whether it is right.

    python benchmarks/averager.py [--threads 1] [--rounds 15]

The same model for all, in one run: each method is timed once per round, in turn, so that a slow moment of the machine
hits all of them; the table shows medians, and the median of each round's ratio to `Averager`. Memory is that of every
tensor that a method adds, in copies of the fp32 model. With bf16 parameters the peers' averages are bf16 too: less
traffic, but the last table shows what comes of them. There every weight jumps from 0 to 1, or is the step's number.
"""

import argparse
import gc
import itertools
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from ema_pytorch import EMA
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from riverrun.averaging import FixedBeta
from riverrun.integrations.torch import Averager

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.averaging import SIZES, measure, parameters

BETA = 0.999


class Model(LightningModule):
    """Only holds parameters."""

    def __init__(self, params: list[Tensor]) -> None:
        super().__init__()
        self.params = nn.ParameterList(params)


@dataclass(frozen=True)
class Method:
    """An average at work: what takes in the model after an update, what the average is, the first iterate's weight."""

    update: Callable[[int], object]
    average: Callable[[], list[Tensor]]
    first: Callable[[int], float] = lambda updates: BETA ** (updates - 1)


def averager(model: nn.Module) -> Method:
    """Ours."""
    profile = FixedBeta(BETA)
    made = Averager(model, [profile])
    return Method(
        made.update,
        lambda: list(made.average(profile.name).values()),
        lambda updates: float(profile.weights(updates)[0]),
    )


def averaged_model(model: nn.Module, **function: Any) -> Method:
    """torch's."""
    made = AveragedModel(model, **function)
    return Method(lambda step: made.update_parameters(model), lambda: list(made.module.parameters()))


def ema_pytorch(model: nn.Module, **settings: Any) -> Method:
    """ema-pytorch's, with its constant beta from the first update on."""
    made = EMA(
        model,
        beta=BETA,
        min_value=BETA,
        update_after_step=-1,
        update_every=1,
        include_online_model=False,
        **settings,
    )
    return Method(lambda step: made.update(), lambda: list(made.ema_model.parameters()))


def lightning(model: nn.Module) -> Method:
    """The callback, called as its trainer calls it after a batch."""
    callback = EMAWeightAveraging(device="cpu", decay=BETA)
    callback.setup(None, model, "fit")

    def update(step: int) -> None:
        callback.on_train_batch_end(SimpleNamespace(global_step=step), model, None, None, 0)

    return Method(update, lambda: list(callback._average_model.module.parameters()))


METHODS: dict[str, Callable[[nn.Module], Method]] = {
    "riverrun Averager": averager,
    "AveragedModel, EMA multi_avg_fn": lambda model: averaged_model(
        model, multi_avg_fn=get_ema_multi_avg_fn(BETA)
    ),
    "AveragedModel, EMA avg_fn": lambda model: averaged_model(model, avg_fn=get_ema_avg_fn(BETA)),
    "ema-pytorch": ema_pytorch,
    "ema-pytorch, use_foreach": lambda model: ema_pytorch(model, use_foreach=True),
    "ema-pytorch, kept in fp32": lambda model: ema_pytorch(
        model, ema_model=deepcopy(model).float(), coerce_dtype=True
    ),
    "ema-pytorch, in fp32, use_foreach": lambda model: ema_pytorch(
        model, ema_model=deepcopy(model).float(), coerce_dtype=True, use_foreach=True
    ),
    "Lightning EMAWeightAveraging": lightning,
}
"""The two in fp32 are what others have that is right for bf16 parameters."""


def held_bytes() -> int:
    """Of the memory of all tensors that there are, each counted once."""
    gc.collect()
    storages = {}
    for found in gc.get_objects():
        if type(found) in (Tensor, nn.Parameter):
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def memory(make: Callable[[nn.Module], Method], model: nn.Module) -> int:
    """Bytes that a method holds after two updates."""
    before = held_bytes()
    method = make(model)
    for step in (1, 2):
        method.update(step)
    return held_bytes() - before


def cost(model: nn.Module, rounds: int) -> None:
    """Print time per update and memory of every method."""
    count = sum(parameter.numel() for parameter in model.parameters())
    held = {name: memory(make, model) for name, make in METHODS.items()}
    calls: dict[str, Callable[[], object]] = {
        name: partial(lambda method, steps: method.update(next(steps)), make(model), itertools.count(1))
        for name, make in METHODS.items()
    }
    seconds = measure(calls, rounds)
    own = next(iter(seconds.values()))
    for name, times in seconds.items():
        ratio = median(t / o for t, o in zip(times, own, strict=True))
        print(
            f"  {name:<34} {median(times) * 1e6:12,.1f} us {ratio:8.2f} x ours {held[name] / (4 * count):6.2f} copies"
        )


@torch.no_grad()
def moved(make: Callable[[nn.Module], Method], updates: int = 2000) -> tuple[float, float]:
    """How far a bf16 model's average has come from 0 to 1, and should have, if weights jump there after one update."""
    model = Model([torch.zeros(4, dtype=torch.bfloat16)])
    method = make(model)
    method.update(1)
    for parameter in model.parameters():
        parameter.fill_(1.0)
    for step in range(2, updates + 2):
        method.update(step)
    return float(method.average()[0].double().mean()), 1 - method.first(updates + 1)


@torch.no_grad()
def mean_age(make: Callable[[nn.Module], Method], every: int, steps: int = 100_000) -> float:
    """The mean age in steps of what is averaged, when the average is updated every so many steps."""
    model = Model([torch.zeros(4)])
    method = make(model)
    for step in range(every, steps + 1, every):
        for parameter in model.parameters():
            parameter.fill_(step)
        method.update(step)
    return steps - float(method.average()[0].double().mean())


def main() -> None:
    """Print the costs for each size and dtype, then what the averages are worth."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=15)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for size, shape in SIZES.items():
        for dtype in (torch.float32, torch.bfloat16):
            model = Model(parameters(*shape, dtype))
            count = sum(parameter.numel() for parameter in model.parameters())
            print(f"\n{size}: {count:,} {dtype} parameters, {options.threads} threads")
            cost(model, options.rounds)
    print(f"\nbeta = {BETA}, mean age {BETA / (1 - BETA):.0f} steps")
    print(f"  {'':<34} bf16: moved  should have   mean age, every step  every 100 steps")
    for name, make in METHODS.items():
        ages = [mean_age(make, every) for every in (1, 100)]
        came, should = moved(make)
        print(f"  {name:<34} {came:11.1%} {should:12.1%} {ages[0]:22,.0f} {ages[1]:16,.0f}")


if __name__ == "__main__":
    main()
