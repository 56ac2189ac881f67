"""The page of a sweep, written when its last job has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from pruner_zero.commands.display import Display
from pruner_zero.commands.report import leave_sweep_report


class SweepPage(Callback):
    """Called by Hydra in the process of the command, whatever launcher ran the jobs."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the sweep's runs side by side.

        Args:
            config: of the sweep, with Hydra's own part.
            kwargs: what later versions of Hydra add.
        """
        del kwargs
        leave_sweep_report(Path(config.hydra.sweep.dir), Display())
