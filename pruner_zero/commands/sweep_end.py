"""What a sweep leaves when its last job has ended: its page, and which jobs failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from pruner_zero.commands.display import Display
from pruner_zero.commands.report import leave_sweep_report
from pruner_zero.commands.sweep_failures import failures, forget_failures, how_a_sweep_goes_on


class SweepEnd(Callback):
    """Called by Hydra in the process of the command, whatever launcher runs the jobs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget which jobs failed before: they are tried again.

        Args:
            config: of the sweep, with Hydra's own part.
            kwargs: what later versions of Hydra add.
        """
        del kwargs
        forget_failures(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the sweep's runs side by side; say which jobs failed.

        Args:
            config: of the sweep, with Hydra's own part.
            kwargs: what later versions of Hydra add.

        Raises:
            SystemExit: a job failed.
        """
        del kwargs
        sweep = Path(config.hydra.sweep.dir)
        failed = failures(sweep)
        if not failed or any(sweep.rglob("evaluations.jsonl")):
            leave_sweep_report(sweep, Display())
        for job, message in failed:
            print(f"error: job {job} failed: {message}", file=sys.stderr)
        if failed:
            print(how_a_sweep_goes_on(sweep))
            raise SystemExit(2)
