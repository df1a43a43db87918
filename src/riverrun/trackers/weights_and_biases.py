"""Weights & Biases: a run that a resume goes on with, online or in files to be synced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from riverrun.trackers.sent import Sent
from riverrun.trackers.sink import TrackedRun

_QUIET = {"silent": True, "console": "off"}


class WeightsAndBiases:
    """A run of the project that WANDB_PROJECT names, "riverrun" without it; one call of `log` for each step.

    It stands beside whatever run the program has of its own, and takes neither its output nor its machine's load, so
    that what is sent later, or from another machine, is the same.
    """

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        self._run = run
        self._opened: Any = None
        # Quiet: without a login it then raises, where it would ask and wait.
        settings = wandb.setup(wandb.Settings(**_QUIET)).settings
        self._project = settings.project or "riverrun"
        place = {
            "project": self._project,
            "entity": settings.entity,
            "server": settings.base_url,
            "mode": settings.mode,
        }
        self._sent = Sent(run.node, "wandb", place)
        self.last, self.look = self._sent.step, self._sent.look

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row of the run's history."""
        if self._opened is None:
            self._open()
        if step >= self._opened.starting_step:  # of a run on a server, which tells what it has
            self._opened.log(dict(values), step=step, commit=True)
        self._sent.gave(step, self.look)

    def _open(self) -> None:
        import wandb

        self._opened = wandb.init(
            project=self._project,
            id=self._run.id,
            name=self._run.name,
            group=self._run.group,
            config=dict(self._run.configuration),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**_QUIET, x_disable_stats=True),
        )
        if self._opened.disabled:
            raise ValueError("is disabled by WANDB_MODE; set it to online or offline")
        offline = self._opened.offline
        self.look = f"wandb sync {self._opened.settings.sync_dir}" if offline else self._opened.url

    def close(self) -> None:
        """End the session of the run, once its rows have left this process."""
        if self._opened is not None:
            self._opened.finish()
            self._sent.closed()
