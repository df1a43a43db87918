"""Workers on a Ray cluster: each run is one task; the trees, on storage that all machines see, are all they share."""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from riverrun.compare.runs import Run
from riverrun.compare.work import train_run
from riverrun.errors import SettingError


class RayWorkers:
    """The cluster that RAY_ADDRESS names, or one started on this machine.

    Args:
        folder: the comparison's, the same path on every machine.
        cores: of each run; Ray places runs by it.
        slots: runs at a time; None is as many as the cluster has cores for.
    """

    def __init__(self, folder: Path, cores: int, slots: int | None) -> None:
        try:
            import ray
        except ImportError:
            raise SettingError("--launcher ray: needs Ray. pip install 'riverrun[ray]'") from None
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        self._folder = folder.resolve()
        self._task = ray.remote(num_cpus=cores, max_retries=0)(train_run)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.slots = slots or max(1, int(resources.get("CPU", 1)) // cores)
        self._flying: dict[Future[int], Any] = {}

    def submit(self, run: Run) -> Future[int]:
        """Train a run wherever there is room; the future holds what `train_run` gives or raises."""
        reference = self._task.remote(self._folder, run)
        future: Future[int] = reference.future()
        self._flying[future] = reference
        future.add_done_callback(self._flying.pop)
        return future

    def stop(self) -> None:
        """Have every run in hand saved and left: a cancelled task gets what Ctrl-C sends."""
        for reference in list(self._flying.values()):
            self._ray.cancel(reference)
        wait(self._flying)

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._started:
            self._ray.shutdown()
