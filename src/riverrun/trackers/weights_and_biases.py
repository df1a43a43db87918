"""Weights & Biases: a run that a resume goes on with, online or in files to be synced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from riverrun.trackers.sent import Sent
from riverrun.trackers.sink import TrackedRun


class WeightsAndBiases:
    """A run of the project that WANDB_PROJECT names, "riverrun" without it; one call of `log` for each line.

    It stands beside whatever run the program has of its own, and takes neither its output nor its machine's load, so
    that what is sent later, or from another machine, is the same.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._project = os.environ.get("WANDB_PROJECT") or "riverrun"
        self._opened: Any = None
        place = {
            "project": self._project,
            "entity": os.environ.get("WANDB_ENTITY"),
            "server": os.environ.get("WANDB_BASE_URL"),
            "mode": os.environ.get("WANDB_MODE") or "online",
        }
        self._sent = Sent(run.node, "wandb", place)
        self.last, self.look = self._sent.step, self._sent.look

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row of the run's history."""
        if self._opened is None:
            self._open()
        self._opened.log(dict(values), step=step, commit=True)
        self._sent.note(step, self.look)

    def _open(self) -> None:
        import wandb

        quiet = {"silent": True, "console": "off"}
        wandb.setup(wandb.Settings(**quiet))  # without a login it then raises, where it would ask and wait
        self._opened = wandb.init(
            project=self._project,
            id=self._run.id,
            name=self._run.name,
            group=self._run.group,
            config=dict(self._run.configuration),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**quiet, x_disable_stats=True),
        )
        if self._opened.disabled:
            raise ValueError("WANDB_MODE is disabled; set it to online or offline")
        if self._opened.offline:
            self.look = f"wandb sync {self._opened.settings.sync_dir}"
        else:
            self.look = self._opened.url

    def close(self) -> None:
        """Wait until all is on the server, or in the file."""
        if self._opened is not None:
            self._opened.finish()
