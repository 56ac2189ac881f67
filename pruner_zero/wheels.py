"""Fetch one wheel with this interpreter's pip, quietly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_UNREACHABLE = ("NewConnectionError", "Max retries", "name resolution", "timed out", "ProxyError")


class WheelError(Exception):
    """A wheel cannot be fetched; the message says why in a few words."""


def download_wheel(
    requirement: str, pip_args: Sequence[str], folder: Path, *, use_cache: bool = True
) -> Path:
    """Download one wheel without its dependencies and without installing it.

    Args:
        requirement: the pinned wheel, as pip writes it.
        pip_args: further arguments of ``pip download``.
        folder: an existing empty folder for the wheel.
        use_cache: whether pip may take the wheel from its own cache.

    Returns:
        Path of the wheel in `folder`.

    Raises:
        WheelError: no pip, no network, no such wheel.
    """
    arguments = ["download", "--no-deps", "--only-binary=:all:", "-q", "--no-input"]
    arguments += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder)]
    arguments += [] if use_cache else ["--no-cache-dir"]
    finished = _run_pip([*arguments, *pip_args, requirement])
    wheels = list(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        raise WheelError(_reason(finished))
    return wheels[0]


def _run_pip(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run this interpreter's pip, its output captured so that nothing reaches the screen."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _reason(finished: subprocess.CompletedProcess[str]) -> str:
    """Say in a few words why pip failed."""
    output = f"{finished.stdout or ''}\n{finished.stderr or ''}"
    if "No module named pip" in output:
        return "this Python has no pip"
    if any(sign in output for sign in _UNREACHABLE):
        return "the package index cannot be reached"
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    return errors[-1].removeprefix("ERROR:").strip()[:160] if errors else "pip failed"
