"""trackio: a run in its local store, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL sends it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import Context
from typing import Any

from riverrun.trackers.muted import muted
from riverrun.trackers.sent import Sent
from riverrun.trackers.sink import TrackedRun

_PROJECT = "riverrun"


class Trackio:
    """A run of the project "riverrun", named by its id; no dashboard is started.

    The local store tells what it has; of another place it is known what was sent there.
    """

    def __init__(self, run: TrackedRun) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        self._run = run
        self._opened: Any = None
        elsewhere = {name: os.environ.get(name) for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")}
        self._sent = Sent(run.node, "trackio", elsewhere | {"TRACKIO_DIR": os.environ.get("TRACKIO_DIR")})
        self.last, self.look = self._sent.step, f"trackio show --project {_PROJECT}"
        if not any(elsewhere.values()):
            self.last = max(self.last, SQLiteStorage.get_max_step_for_run(_PROJECT, run.id) or 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row of the store."""
        if self._opened is None:
            self._open()
        self._opened.log(dict(values), step=step)
        self._sent.gave(step, self.look)

    def _open(self) -> None:
        import trackio

        with muted():
            # In a context of its own: it would finish the run that the program has there.
            self._opened = Context().run(
                trackio.init,
                _PROJECT,
                name=self._run.id,
                group=self._run.group,
                config=dict(self._run.configuration),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def close(self) -> None:
        """Write what is left."""
        if self._opened is not None:
            with muted():
                self._opened.finish()
            self._sent.closed()
