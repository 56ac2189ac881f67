"""Weights & Biases: files for ``wandb sync`` by default, the service when ``mode=online``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruner_zero.tracking.config import TrackerConfig


class WeightsAndBiases:
    """One run of a project; its files lie in ``place`` or in the run folder.

    Args:
        config: the tracker's settings.
        folder: the run folder, whose name the run gets.
        identity: of the run that is resumed.
    """

    def __init__(self, config: TrackerConfig, folder: Path, identity: str | None) -> None:
        """Start the run, or go on with it."""
        import wandb

        self._library: Any = wandb
        self.run: Any = wandb.init(
            project=config.project,
            name=folder.name,
            id=identity,
            resume="allow" if identity else None,
            mode=config.mode,
            dir=str(Path(config.place).expanduser() if config.place else folder),
        )
        self.identity: str = self.run.id

    def settings(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`."""
        self.run.config.update(dict(values), allow_val_change=True)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self.run.log(dict(values), step=step)

    def outcome(self, step: int, text: str, values: Mapping[str, float], files: list[Path]) -> None:
        """See `Tracker`."""
        self.run.log(dict(values), step=step)
        self.run.summary.update({"results": text})
        artifact = self._library.Artifact(f"run-{self.identity}", type="pruner-zero-run")
        for file in files:
            artifact.add_file(str(file))
        self.run.log_artifact(artifact)

    def close(self, complete: bool) -> None:
        """See `Tracker`."""
        self.run.finish(exit_code=0 if complete else 1)
