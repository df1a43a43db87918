"""How the arithmetic of a run is done: device, precision, compilation, threads."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from riverrun.errors import SettingError
from riverrun.models import count_parameters, keep_freed_memory
from riverrun.models.precision import ResolvedPrecision, arithmetic, resolve_precision
from riverrun.ranks import ALONE, Ranks
from riverrun.train.recipe import DeviceName, Recipe

# Read before any run lowers it: a small run must not decide for a large one after it in the same process.
_MACHINE_THREADS = torch.get_num_threads()
_CORES = os.cpu_count() or 1

# Non-embedding parameters from which several CPU threads pay.
_WORTH_SEVERAL_THREADS = 1_000_000


@dataclass(frozen=True)
class Engine:
    """The settled choices of `[engine]`."""

    device: torch.device
    precision: ResolvedPrecision
    compile: bool

    def arithmetic(self) -> AbstractContextManager[None]:
        """The context of forward and backward passes; the optimizer's step stays outside."""
        return arithmetic(self.precision, self.device)


def settle(recipe: Recipe, ranks: Ranks = ALONE) -> tuple[Recipe, Engine]:
    """Replace every "auto" of `[engine]` by what this machine does best, and make ready for it.

    But for `parallel`, which is settled anew by how many ranks there are.

    Compilation is on for GPUs only: on a CPU it costs a minute at the start and gains a few percent. A small
    model on a CPU takes one thread: its parallel regions are so short that two threads gain little on an idle
    machine and wait for each other fifty times longer on a busy one.

    Raises:
        SettingError: the device is not there.
    """
    wanted = recipe.engine
    name = _device(wanted.device)
    device = torch.device(name, ranks.local_rank) if name == "cuda" and ranks.size > 1 else torch.device(name)
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise SettingError(
            f"rank {ranks.rank}: there is no GPU {device.index} for it; start one rank a GPU, "
            f"--nproc-per-node {torch.cuda.device_count()}"
        )
    precision = resolve_precision(wanted.precision, device)
    compiled = name == "cuda" if wanted.compile == "auto" else wanted.compile == "on"
    threads = _threads(recipe) if wanted.threads == "auto" else wanted.threads
    # Ranks on one machine share its cores, whatever a run of one process was begun with.
    torch.set_num_threads(
        min(threads, max(1, _CORES // ranks.local_size)) if ranks.local_size > 1 else threads
    )
    if name == "cpu":
        keep_freed_memory()
    settled = replace(
        wanted, device=name, precision=precision, compile="on" if compiled else "off", threads=threads
    )
    return replace(recipe, engine=settled), Engine(device, precision, compiled)


def _threads(recipe: Recipe) -> int:
    parameters = count_parameters(recipe.decoder(vocabulary=1)).non_embedding
    return 1 if parameters < _WORTH_SEVERAL_THREADS else _MACHINE_THREADS


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
            f'engine.device: got "{wanted}"; this machine has {", ".join(there)}. A new run may use --set '
            "engine.device=auto; one that was started goes on on the kind of device it was started on"
        )
    return wanted
