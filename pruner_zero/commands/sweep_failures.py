"""Which jobs of a sweep failed: noted by the job, wherever it runs, and read at the sweep's end."""

from __future__ import annotations

import json
from pathlib import Path

from pruner_zero.files import append_json, as_typed


def forget_failures(sweep: Path) -> None:
    """Start a sweep, or go on with it: its failed jobs are tried again."""
    _notes(sweep).unlink(missing_ok=True)


def note_failure(sweep: Path, job: int, message: str) -> None:
    """Note a failed job.

    Args:
        sweep: the sweep's folder, which all jobs share.
        job: its number.
        message: what was wrong, in one line.

    Raises:
        UserError: the folder cannot be written.
    """
    append_json(_notes(sweep), {"job": job, "error": message})


def failures(sweep: Path) -> list[tuple[int, str]]:
    """Number and message of every job that failed, by number."""
    if not _notes(sweep).exists():
        return []
    records = map(json.loads, _notes(sweep).read_text(encoding="utf-8").splitlines())
    return sorted((record["job"], record["error"]) for record in records)


def how_a_sweep_goes_on(sweep: Path) -> str:
    """Say what to type to go on with a sweep."""
    place = as_typed(sweep)
    return f"the whole sweep goes on with the same command and hydra.sweep.dir={place} resume=auto"


def _notes(sweep: Path) -> Path:
    return sweep / "failed_jobs.jsonl"
