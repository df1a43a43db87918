"""Workers on a Ray cluster: each run is one task; the trees, on storage that all machines see, are all they share."""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from riverrun.compare.runs import Run
from riverrun.compare.work import train_run
from riverrun.errors import SettingError
from riverrun.train.sources import absolute


class RayWorkers:
    """The cluster that RAY_ADDRESS names, or one started on this machine.

    Args:
        folder: the comparison's, the same path on every machine.
        cores, gpus: of each run; Ray places runs by them.
        slots: runs at a time; None is as many as the cluster has room for.
    """

    def __init__(self, folder: Path, cores: int, gpus: int, slots: int | None) -> None:
        try:
            import ray
        except ImportError:
            raise SettingError("--launcher ray: needs Ray. pip install 'riverrun[ray]'") from None
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise SettingError(
                    f"--launcher ray: no cluster ({' '.join(str(error).split())}); start one with ray start --head, "
                    "or leave RAY_ADDRESS unset for one on this machine"
                ) from None
        self._folder = folder.resolve()
        self._task = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=0)(train_run)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        room = min(resources.get("CPU", 1) // cores, resources.get("GPU", 0) // gpus if gpus else math.inf)
        self.slots = slots or max(1, int(room))
        self._flying: dict[Future[int], Any] = {}

    def submit(self, run: Run) -> Future[int]:
        """Train a run wherever there is room; the future holds what `train_run` gives or raises."""
        # Tasks run in whatever directory their cluster was started in.
        recipe = replace(run.recipe, data=absolute(run.recipe.data))
        reference = self._task.remote(self._folder, replace(run, recipe=recipe))
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
