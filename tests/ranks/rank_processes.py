"""Ranks as processes of this machine, forked from a server that has imported everything: there in milliseconds.

What a rank does is a function of a test file; the arguments and what it gives back are pickled.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from riverrun.train import parse_recipe, train

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "riverrun.train", "torch.distributed.fsdp"])

# Seconds after which ranks that go on are ended, and the test has failed.
_AT_THE_MOST = 120.0


@dataclass(frozen=True)
class Ended:
    """How a rank ended: `code` as of multiprocessing; `value` is what the work gave; `error` the name of its type."""

    code: int
    value: Any = None
    error: str | None = None
    text: str = ""
    trace: str = ""


class World:
    """Some ranks at the same work, each told its rank as a launcher would.

    The store by which they find each other is kept here, as torchrun keeps it, or by the first rank.
    """

    def __init__(
        self, work: Callable[..., Any], arguments: Sequence[Any], size: int, kept_here: bool
    ) -> None:
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if kept_here else None
        port = self._store.port if self._store is not None else _free_port()
        environment = {
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "CUDA_VISIBLE_DEVICES": "",
        }
        if kept_here:
            environment |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": 0}
        where = work.__code__.co_filename, work.__qualname__
        self.processes = []
        self._ends: list[Connection] = []
        for rank in range(size):
            here, there = _CONTEXT.Pipe(duplex=False)
            told = {
                key: str(value) for key, value in (environment | {"RANK": rank, "LOCAL_RANK": rank}).items()
            }
            process = _CONTEXT.Process(target=_be, args=(told, where, arguments, there), daemon=True)
            process.start()
            there.close()
            self.processes.append(process)
            self._ends.append(here)

    @property
    def going(self) -> bool:
        """Whether any rank is still there."""
        return any(process.is_alive() for process in self.processes)

    def signal(self, rank: int, which: signal.Signals) -> None:
        """Send a signal to one rank, by its pid, if it is still there."""
        with suppress(ProcessLookupError):
            if self.processes[rank].is_alive():
                os.kill(self.processes[rank].pid, which)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until something holds, or a rank has ended."""
        while all(process.is_alive() for process in self.processes) and not condition():
            time.sleep(0.001)

    def ended(self, rank: int) -> Ended:
        """Wait for one rank."""
        process, told = self.processes[rank], {}
        with suppress(EOFError):
            if self._ends[rank].poll(_AT_THE_MOST):
                told = self._ends[rank].recv()
        process.join(_AT_THE_MOST)
        assert process.exitcode is not None, f"rank {rank} does not end"
        return Ended(process.exitcode, **told)

    def all_ended(self) -> list[Ended]:
        """Wait for all of them."""
        return [self.ended(rank) for rank in range(len(self.processes))]

    def results(self) -> list[Any]:
        """What every rank's work gave; it fails where one did not succeed."""
        ends = self.all_ended()
        for rank, end in enumerate(ends):
            assert (end.code, end.error) == (0, None), f"rank {rank} ended with {end.code}\n{end.trace}"
        return [end.value for end in ends]

    def close(self) -> None:
        """End what is still there, for good."""
        for rank in range(len(self.processes)):
            self.signal(rank, signal.SIGKILL)
        for process, end in zip(self.processes, self._ends, strict=True):
            process.join(_AT_THE_MOST)
            end.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _be(
    environment: dict[str, str], where: tuple[str, str], arguments: Sequence[Any], told: Connection
) -> None:
    """A rank's whole life."""
    os.environ |= environment
    torch.set_num_threads(1)
    for which in (signal.SIGINT, signal.SIGHUP):  # ignored where the tests run in the background
        signal.signal(which, signal.SIG_DFL)
    faulthandler.dump_traceback_later(_AT_THE_MOST - 20, file=sys.__stderr__)
    try:
        told.send({"value": _function(*where)(*arguments)})
    except BaseException as error:
        told.send({"error": type(error).__name__, "text": str(error), "trace": traceback.format_exc()})


def _function(path: str, name: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location("work_of_a_rank", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def train_as_rank(recipe: dict[str, Any], run: Path, until: str) -> tuple[int, int]:
    """Train a trunk with the other ranks: its position and its exit code."""
    outcome = train(parse_recipe(recipe), run, until)
    return outcome.step, outcome.exit_code
