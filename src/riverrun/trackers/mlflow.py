"""MLflow: a run in the store that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from riverrun.trackers.sink import TrackedRun

_ID, _STEP = "riverrun.id", "step"
_PARAMETERS_A_CALL = 100  # what the server takes


class MLflow:
    """A run of the experiment that MLFLOW_EXPERIMENT_NAME names, without it of one with the tree's name.

    A tag says which node it is of. The step is a metric too, of which MLflow gives the last value: what it has.
    """

    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient

        self._run = run
        self._client = MlflowClient()
        self._experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.group
        self._opened = False
        self._found: Any = self._find()
        self.last = int(self._found.data.metrics.get(_STEP, 0)) if self._found else 0
        self.look = self._how_to_look()

    def _find(self) -> Any:
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return None
        runs = self._client.search_runs([experiment.experiment_id], f"tags.`{_ID}` = '{self._run.id}'")
        return runs[0] if runs else None

    def _how_to_look(self) -> str:
        uri = self._client.tracking_uri
        if not uri.startswith("http"):
            return f"mlflow server --backend-store-uri {uri}"
        where = self._found and self._found.info
        return f"{uri}/#/experiments/{where.experiment_id}/runs/{where.run_id}" if where else uri

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One call with all metrics of the line."""
        from mlflow.entities import Metric

        if not self._opened:
            self._open()
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in {**values, _STEP: step}.items()]
        self._client.log_batch(self._found.info.run_id, metrics)

    def _open(self) -> None:
        from mlflow.entities import Param

        client, run = self._client, self._run
        if self._found is None:
            experiment = client.get_experiment_by_name(self._experiment)
            experiment_id = (
                experiment.experiment_id if experiment else client.create_experiment(self._experiment)
            )
            tags = {_ID: run.id, "riverrun.group": run.group}
            self._found = client.create_run(experiment_id, tags=tags, run_name=run.name)
            self.look = self._how_to_look()
        else:
            client.update_run(self._found.info.run_id, status="RUNNING")
        if not self._found.data.params:
            parameters = [
                Param(key, value if isinstance(value, str) else json.dumps(value))
                for key, value in run.configuration.items()
            ]
            for first in range(0, len(parameters), _PARAMETERS_A_CALL):
                client.log_batch(
                    self._found.info.run_id, params=parameters[first : first + _PARAMETERS_A_CALL]
                )
        self._opened = True

    def close(self) -> None:
        """Mark the run as finished, until it goes on."""
        if self._opened:
            self._client.update_run(self._found.info.run_id, status="FINISHED")
