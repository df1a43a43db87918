"""How the arithmetic of a run is done: device, precision, compilation, threads."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from riverrun.errors import SettingError
from riverrun.models.precision import ResolvedPrecision, arithmetic, resolve_precision
from riverrun.train.recipe import DeviceName, Recipe


@dataclass(frozen=True)
class Engine:
    """The settled choices of `[engine]`."""

    device: torch.device
    precision: ResolvedPrecision
    compile: bool

    def arithmetic(self) -> AbstractContextManager[None]:
        """The context of forward and backward passes; the optimizer's step stays outside."""
        return arithmetic(self.precision, self.device)


def settle(recipe: Recipe) -> tuple[Recipe, Engine]:
    """Replace every "auto" of `[engine]` by what this machine does best, and make ready for it.

    Compilation is on for GPUs only: on a CPU it costs a minute at the start and gains a few percent.

    Raises:
        SettingError: the device is not there.
    """
    wanted = recipe.engine
    name = _device(wanted.device)
    device = torch.device(name)
    precision = resolve_precision(wanted.precision, device)
    compiled = device.type == "cuda" if wanted.compile == "auto" else wanted.compile == "on"
    if wanted.threads is not None:
        torch.set_num_threads(wanted.threads)
    settled = replace(wanted, device=name, precision=precision, compile="on" if compiled else "off")
    return replace(recipe, engine=settled), Engine(device, precision, compiled)


def _device(wanted: DeviceName) -> DeviceName:
    there: list[DeviceName] = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    if wanted == "auto":
        return there[0]
    if wanted not in there:
        raise SettingError(
            f'engine.device: got "{wanted}"; this machine has {", ".join(there)}. Use --set engine.device=auto'
        )
    return wanted
