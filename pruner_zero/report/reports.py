"""From run folders to the page that suits them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pruner_zero.report.comparison_page import comparison_page
from pruner_zero.report.page import Page
from pruner_zero.report.run import Run
from pruner_zero.report.run_page import run_page


def report_on(runs: Sequence[Run], title: str | None = None, place: Path | None = None) -> Page:
    """Return the page of one run, or of several side by side.

    Args:
        runs: at least one.
        title: of several together; by default their names.
        place: where the page of several will lie, for links to the runs' own pages.
    """
    if len(runs) == 1:
        return run_page(runs[0])
    return comparison_page(runs, title or _joined(runs), place)


def _joined(runs: Sequence[Run]) -> str:
    names = [run.name for run in runs]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} runs"


def default_place(given: Sequence[Path], runs: Sequence[Path]) -> Path:
    """Where a page goes that was given no place: into its run or sweep, else the current folder.

    Args:
        given: paths as the user named them.
        runs: the run folders that they are.
    """
    if len(runs) == 1:
        return runs[0] / "report.html"
    return (given[0] if len(given) == 1 else Path()) / "report.html"
