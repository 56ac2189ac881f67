"""Which folders hold runs: a run, a sweep of runs, or neither, with the nearest run suggested."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pruner_zero.errors import UserError

_MARKS = ("evaluations.jsonl", "hall_of_fame.json")
_DEPTH = 3
_OTHERS = {
    "plan.json": "a plan: read its plan.md",
    "cells.jsonl": "a comparison: read its table.md",
    "model.safetensors": "a model",
}


def is_run(path: Path) -> bool:
    """Whether a folder holds a search, complete or not."""
    if any((path / mark).is_file() for mark in _MARKS):
        return True
    # A copy without its log still has settings and results.
    return (path / "config.yaml").is_file() and (path / "results.json").is_file()


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders that are meant: those given, and those below given folders.

    Args:
        paths: run folders, sweep folders, or folders of either.

    Returns:
        Each run once, in the order given; those of one folder by name, numbers as numbers.

    Raises:
        UserError: a path that is no folder of runs, with the nearest one that is.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise UserError(f"{path} cannot be read: its permissions forbid it")
        runs = [path] if is_run(path) else sorted(_below(path), key=_natural)
        if not runs:
            raise UserError(_explain(path))
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _below(path: Path) -> Iterator[Path]:
    level: list[Path] = [path] if path.is_dir() else []
    for _ in range(_DEPTH):
        children = [child for folder in level for child in _folders(folder)]
        yield from (child for child in children if is_run(child))
        level = [child for child in children if not is_run(child)]


def _folders(path: Path) -> list[Path]:
    """Visible folders in one that may be opened."""
    if not path.is_dir():
        return []
    folders = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return [p for p in folders if os.access(p, os.R_OK | os.X_OK)]


def _natural(path: Path) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in path.parts]


def _explain(path: Path) -> str:
    if not path.exists():
        problem = f"there is no run folder {path}"
    elif path.is_file():
        problem = f"{path} is a file, not a run folder"
    else:
        kind = next((k for mark, k in _OTHERS.items() if (path / mark).is_file()), None)
        problem = f"{path} holds no search" + (f" but {kind}" if kind else "")
    nearest = _nearest(path)
    return f"{problem}: " + (
        f"did you mean {nearest}?" if nearest else "make one with pruner-zero search"
    )


def _nearest(path: Path) -> Path | None:
    """The run around a path, else beside it or in ``runs`` the one of the nearest name."""
    for parent in path.parents:
        if is_run(parent):
            return parent
    beside = [*_runs_in(path.parent), *_runs_in(Path("runs"))]
    names = {run.name: run for run in reversed(beside)}
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if close:
        return names[close[0]]
    # No name is near: the newest is the one that people mean most often.
    return max(beside, key=lambda run: run.stat().st_mtime, default=None)


def _runs_in(path: Path) -> Iterable[Path]:
    """Runs and sweeps directly in a folder."""
    return [p for p in _folders(path) if is_run(p) or any(is_run(q) for q in _folders(p))]
