"""The page of several runs side by side, or of a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go

from pruner_zero.report.comparison_figures import (
    Quantity,
    curves_figure,
    fronts_figure,
    heat_figures,
    quantities,
    strips_figure,
)
from pruner_zero.report.outcome import BestMetric
from pruner_zero.report.page import Page
from pruner_zero.report.run import Run
from pruner_zero.report.run_page import MetricCard
from pruner_zero.report.sweep import Axis, Group, axes, groups, seed


@dataclass(frozen=True)
class RunRow:
    """A run in the table of runs.

    Attributes:
        run: the run.
        settings: its value on every axis.
        seed: its seed.
        values: one number per quantity, None where it has none.
        candidates: made in all.
        cost: in full evaluations.
        best: its best metric, None before any succeeded.
        link: address of its own page from this one, None where there is none.
    """

    run: Run
    settings: tuple[str, ...]
    seed: Any
    values: tuple[float | None, ...]
    candidates: int
    cost: float
    best: BestMetric | None
    link: str | None


def comparison_page(runs: Sequence[Run], title: str, place: Path | None = None) -> Page:
    """Return the page of several runs.

    Args:
        runs: at least two.
        title: what they are called together.
        place: where the page will lie, for links to the runs' own pages; null for none.
    """
    varied = axes(runs)
    gathered = groups(runs, varied)
    judged = quantities(runs)
    figures: dict[str, go.Figure] = {}
    maps: list[tuple[str, str]] = []
    if judged and len(varied) >= 2:
        for index, (name, plot) in enumerate(heat_figures(gathered, varied, judged)):
            maps.append((f"heat{index}", name))
            figures[f"heat{index}"] = plot
    if judged:
        figures["strips"] = strips_figure(gathered, judged)
    if any(run.evaluations for run in runs):
        figures["curves"] = curves_figure(gathered)
        figures["fronts"] = fronts_figure(gathered)
    facts = {
        "name": title,
        "axes": varied,
        "seeds": sorted({str(seed(run)) for run in runs}),
        "rows": [_row(index, run, varied, judged, place) for index, run in enumerate(runs)],
        "quantities": [name for name, _ in judged],
        "maps": maps,
        "cards": [card for group in gathered if (card := _card(group, judged))],
        "gaps": [(run, gap) for run in runs for gap in run.gaps],
        "methods": _methods(runs),
    }
    return Page("comparison.html.j2", f"{title} – Pruner-Zero", facts, figures)


def _row(
    index: int, run: Run, varied: Sequence[Axis], judged: Sequence[Quantity], place: Path | None
) -> RunRow:
    ranking = run.ranking()
    return RunRow(
        run=run,
        settings=tuple(axis.levels[axis.places[index]] for axis in varied),
        seed=seed(run),
        values=tuple(of(run) for _, of in judged),
        candidates=len(run.evaluations),
        cost=sum(evaluation.cost for evaluation in run.evaluations) / run.full_tokens,
        best=ranking[0] if ranking else None,
        link=_link(run.path / "report.html", place),
    )


def _link(page: Path, place: Path | None) -> str | None:
    """A relative address, so that a folder of pages can be moved."""
    if place is None or not page.exists():
        return None
    return quote(os.path.relpath(page.resolve(), place.resolve().parent).replace(os.sep, "/"))


def _card(group: Group, judged: Sequence[Quantity]) -> tuple[str, Run, MetricCard] | None:
    """The best metric of a group: of the run that is best by the first quantity."""
    able = [run for run in group.runs if run.ranking()]
    if not able:
        return None

    def value(run: Run) -> float:
        known = [found for _, of in judged if (found := of(run)) is not None]
        return known[0] if known else float("inf")

    run = min(able, key=value)
    return group.label, run, MetricCard.of(1, run.ranking()[0], run)


def _methods(runs: Sequence[Run]) -> dict[str, Any]:
    """The final tables side by side: methods down, runs and corpora across."""
    finished = [(run, run.outcome) for run in runs if run.outcome and run.outcome.rows]
    columns = [(run, corpus) for run, outcome in finished for corpus in outcome.corpora]
    table: dict[tuple[str, str, str], list[float | None]] = {}
    place = 0
    for _, outcome in finished:
        several = len({row.model for row in outcome.rows}) > 1
        for corpus in outcome.corpora:
            for row in outcome.rows:
                key = (row.method, row.sparsity, row.model if several else "")
                table.setdefault(key, [None] * len(columns))[place] = row.perplexity.get(corpus)
            place += 1
    return {"columns": columns, "table": table}
