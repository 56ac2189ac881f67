"""Seconds per named stage, on a device that may still be working when a call returns."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of each stage.

    Args:
        device: where the work happens.
        wait: wait for the device before and after every stage, which a stage's seconds need and
            which itself costs time on CUDA.
    """

    def __init__(self, device: torch.device, wait: bool = True) -> None:
        self.device = device
        self.wait = wait
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a ``with`` block; a stage inside another is not counted in the outer one.

        Args:
            name: the stage.

        Yields:
            Nothing.
        """
        before = sum(self.seconds.values())
        start = self._now()
        try:
            yield
        finally:
            inner = sum(self.seconds.values()) - before
            self.seconds[name] += self._now() - start - inner

    def _now(self) -> float:
        if self.wait and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
