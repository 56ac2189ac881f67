"""MLflow: a local folder by default, or the tracking server whose URI is given."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruner_zero.tracking.config import TrackerConfig

_PARAMETERS_PER_CALL = 100
_LONGEST_VALUE = 500


class MLflow:
    """One run of an experiment, in ``place``, ``$MLFLOW_TRACKING_URI`` or the folder ``mlruns``.

    Args:
        config: the tracker's settings.
        folder: the run folder, whose name the run gets.
        identity: of the run that is resumed.
    """

    def __init__(self, config: TrackerConfig, folder: Path, identity: str | None) -> None:
        """Make the run, or open it again."""
        place = config.place or os.environ.get("MLFLOW_TRACKING_URI") or "mlruns"
        if "://" not in place and not place.startswith(("file:", "databricks")):
            place = Path(place).expanduser().absolute().as_uri()
        if place.startswith("file:"):
            # MLflow 3 writes to folders only when asked to. A folder is all that works without
            # a database or a server, and what is written there is small and plain.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._param = Metric, Param
        self.client: Any = MlflowClient(tracking_uri=place)
        if identity:
            self.client.update_run(identity, status="RUNNING")
            self.identity = identity
            return
        known = self.client.get_experiment_by_name(config.project)
        experiment = known.experiment_id if known else self.client.create_experiment(config.project)
        run = self.client.create_run(experiment, run_name=folder.name)
        self.identity = run.info.run_id

    def settings(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`."""
        all_of_them = [
            self._param(_name(key), str(value)[:_LONGEST_VALUE]) for key, value in values.items()
        ]
        for start in range(0, len(all_of_them), _PARAMETERS_PER_CALL):
            some = all_of_them[start : start + _PARAMETERS_PER_CALL]
            self.client.log_batch(self.identity, params=some)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        now = int(time.time() * 1000)
        metrics = [self._metric(_name(name), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.identity, metrics=metrics)

    def outcome(self, step: int, text: str, values: Mapping[str, float], files: list[Path]) -> None:
        """See `Tracker`."""
        self.numbers(step, values)
        self.client.set_tag(self.identity, "mlflow.note.content", text)
        for file in files:
            self.client.log_artifact(self.identity, str(file))

    def close(self, complete: bool) -> None:
        """See `Tracker`."""
        self.client.set_terminated(self.identity, "FINISHED" if complete else "KILLED")


def _name(text: str) -> str:
    """A name that MLflow takes: letters, digits and ``_ - . : /``."""
    return re.sub(r"[^\w\-.:/ ]", "_", text)
