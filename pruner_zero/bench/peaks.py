"""What the device can do at best, measured: matrix products and copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pruner_zero.bench.stopwatch import Stopwatch

_SIZES = {"cuda": (4096, 8192), "cpu": (1024, 2048, 4096)}
_COPIED = {"cuda": 1 << 30, "cpu": 1 << 28}


@dataclass(frozen=True)
class Peaks:
    """The best of several tries.

    Attributes:
        matmul: floating-point operations per second of a square matrix product.
        bandwidth: bytes per second of a copy, read and written bytes both counted.
    """

    matmul: float
    bandwidth: float


def measured_peaks(device: torch.device, dtype: torch.dtype) -> Peaks:
    """Measure the device.

    Args:
        device: the device.
        dtype: of the matrices; the copy is of bytes.
    """
    matmul = 0.0
    for size in _SIZES.get(device.type, _SIZES["cpu"]):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(left)
        seconds = _best(device, lambda a=left, b=right, c=out: torch.mm(a, b, out=c))  # type: ignore[misc]
        matmul = max(matmul, 2 * size**3 / seconds)
    size = _COPIED.get(device.type, _COPIED["cpu"])
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    seconds = _best(device, lambda: target.copy_(source))
    return Peaks(matmul, 2 * size / seconds)


def _best(device: torch.device, work: Callable[[], object], tries: int = 6) -> float:
    """The shortest time of several; the first one warms up and counts only if it is best."""
    seconds = []
    for _ in range(tries):
        watch = Stopwatch(device)
        with watch.stage("work"):
            work()
        seconds.append(watch.seconds["work"])
    return min(seconds)
