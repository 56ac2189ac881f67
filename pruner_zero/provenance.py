"""What a number needs beside it to be believed: versions, machine, time."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("pruner-zero", "torch", "transformers", "deap", "numpy", "hydra-core", "datasets")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide numbers."""
    facts = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def provenance(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """Return versions, machine and time as plain JSON values.

    Args:
        device: where the numbers were computed.
    """
    facts: dict[str, str | int] = {**versions()}
    facts["device"] = device_name(device)
    facts["threads"] = torch.get_num_threads()
    facts["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    return facts


def device_name(device: torch.device | str) -> str:
    """Return a device's name in words, such as ``AMD EPYC, 2 cores`` or ``NVIDIA H200``."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
