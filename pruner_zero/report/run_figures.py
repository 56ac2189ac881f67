"""The figures of one run."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from pruner_zero.report.convergence import Curve
from pruner_zero.report.evaluation import Evaluation
from pruner_zero.report.front import pareto_front
from pruner_zero.report.genealogy import Genealogy
from pruner_zero.report.run import Run, finite
from pruner_zero.report.savings import SPENT, Level
from pruner_zero.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    card_of,
    figure,
    hover_of,
    views,
)
from pruner_zero.report.words import Word


def convergence_figure(run: Run) -> go.Figure:
    """Best and median perplexity against cost, or by a button against time."""
    curve = Curve.of(run)
    plot = figure("cost, full evaluations", "search perplexity", yaxis_type="log")
    best = [finite(value) for value in curve.best]
    median = [finite(value) for value in curve.median]
    label = f"median of the last {curve.window} candidates"
    value = "%{y:.2f}<extra></extra>"
    plot.add_scatter(
        x=curve.cost, y=median, name=label, line={"color": ORANGE, "width": 1.5},
        hovertemplate=f"median {value}",
    )  # fmt: skip
    plot.add_scatter(
        x=curve.cost, y=best, name="best", line={"color": BLUE, "width": 2.5, "shape": "hv"},
        hovertemplate=f"best {value}",
    )  # fmt: skip
    dense = run.outcome.counts.get("dense_perplexity") if run.outcome else None
    if isinstance(dense, float):
        _level(plot, dense, f"dense {dense:.2f}")
    plot.update_layout(
        updatemenus=[
            views(
                [
                    _button("by cost", [curve.cost, curve.cost], "cost, full evaluations"),
                    _button("by time", [curve.minutes, curve.minutes], "evaluation, minutes"),
                ]
            )
        ]
    )
    return plot


def expressions_figure(run: Run) -> go.Figure:
    """Every candidate as a point of perplexity and size; failures lie on a line at the top."""
    plot = figure("size, nodes of the formula", "search perplexity", 480, yaxis_type="log")
    shown = [e for e in run.evaluations if e.size is not None]
    usable = [e for e in shown if e.usable]
    values = [e.perplexity for e in usable]
    roof = min(3 * max(values, default=1.0), sys.float_info.max)
    kinds: list[tuple[str, Callable[[Evaluation], bool], dict[str, object]]] = [
        ("stopped early (estimate)", lambda e: not e.complete,
         {"color": ORANGE, "symbol": "circle-open", "size": 7}),
        ("known masks or formula", lambda e: e.complete and e.known_by in ("expression", "digest"),
         {"color": GREY, "symbol": "square-open", "size": 7}),
        ("evaluated in full", lambda e: e.complete and e.known_by not in ("expression", "digest"),
         {"color": BLUE, "size": 8, "opacity": 0.75}),
    ]  # fmt: skip
    for name, belongs, marker in kinds:
        _points(plot, name, [e for e in usable if belongs(e)], marker)
    failed = [e for e in shown if not e.usable]
    _points(plot, "failed", failed, {"color": RED, "symbol": "x", "size": 7}, roof)
    front = pareto_front(run.evaluations)
    if front:
        plot.add_scatter(
            x=[e.size for e in front], y=[e.perplexity for e in front], name="Pareto front",
            mode="lines+markers", line={"color": GREEN, "shape": "hv", "width": 2},
            marker={"color": GREEN, "size": 10, "symbol": "diamond"},
            hovertext=[hover_of(e) for e in front], customdata=[card_of(e) for e in front],
            hovertemplate="%{hovertext}<extra></extra>",
        )  # fmt: skip
    if values:
        low, high = math.log10(min(values)), math.log10(roof if failed else max(values))
        near = math.log10(sorted(values)[len(values) // 2])
        pad = 0.04 * (high - low) + 0.01
        whole = [low - pad, high + pad]
        close = [low - 0.08 * (near - low) - 0.005, near + 0.05 * (near - low) + 0.005]
        plot.update_yaxes(range=whole)
        plot.update_layout(
            updatemenus=[
                views(
                    [
                        _zoom("all", whole),
                        _zoom("the better half", close),
                    ]
                )
            ]
        )
    return plot


def genealogy_figure(family: Genealogy) -> go.Figure:
    """A metric's ancestors in the order of birth, each at its perplexity, with lines to parents."""
    plot = figure("candidate, in the order of birth", "search perplexity", 440, yaxis_type="log")
    finite_values = [e.perplexity for e in family.members if e.usable]
    roof = min(2 * max(finite_values, default=1.0), sys.float_info.max)
    height = {e.number: e.perplexity if e.usable else roof for e in family.members}
    across: list[float | None] = []
    up: list[float | None] = []
    for parent, child in family.edges:
        across += [parent, child, None]
        up += [height[parent], height[child], None]
    plot.add_scatter(
        x=across, y=up, mode="lines", line={"color": "#b9c0ca", "width": 1.2}, hoverinfo="skip",
        name="parent to offspring", showlegend=False,
    )  # fmt: skip
    best = family.members[-1]
    founders = [e for e in family.founders if e is not best]
    between = [e for e in family.members[:-1] if e.parents]
    for name, members, marker in (
        ("founders: random trees and known metrics", founders,
         {"color": PURPLE, "symbol": "square", "size": 9}),
        ("offspring", between, {"color": BLUE, "size": 8}),
        ("the metric", [best], {"color": GREEN, "symbol": "star", "size": 15}),
    ):  # fmt: skip
        if members:
            plot.add_scatter(
                x=[e.number for e in members], y=[height[e.number] for e in members], name=name,
                mode="markers", marker=marker, hovertext=[hover_of(e) for e in members],
                customdata=[card_of(e) for e in members],
                hovertemplate="%{hovertext}<extra></extra>",
            )  # fmt: skip
    plot.update_layout(margin_t=32)
    return plot


def savings_figure(levels: Sequence[Level]) -> go.Figure:
    """One full evaluation per candidate, shared out to what spared it and what was computed."""
    plot = figure("full evaluations", "", 90 + 42 * len(levels), margin_t=32)
    rows = list(reversed(levels))
    plot.add_bar(
        x=[level.full_evaluations for level in rows],
        y=[level.name for level in rows],
        orientation="h",
        marker_color=[BLUE if level.name == SPENT else GREEN for level in rows],
        text=[f"{level.full_evaluations:.1f}" for level in rows],
        textposition="auto",
        customdata=[level.candidates for level in rows],
        hovertemplate="%{y}: %{x:.1f} full evaluations, %{customdata} candidates<extra></extra>",
    )
    return plot


def words_figure(words: Sequence[Word]) -> go.Figure:
    """The lift of every word; the line at 1 is what chance would give."""
    plot = figure("lift among the best tenth", "", 90 + 24 * len(words), margin_t=32)
    rows = list(reversed(words))
    colours = {"operator": BLUE, "terminal": GREEN, "scope": ORANGE}
    plot.add_bar(
        x=[word.lift for word in rows],
        y=[word.name for word in rows],
        orientation="h",
        marker_color=[colours[word.kind] for word in rows],
        customdata=[[word.metrics, word.shift] for word in rows],
        hovertemplate="%{y}: lift %{x:.2f}, in %{customdata[0]} models, "
        "log perplexity %{customdata[1]:+.2f} against the others<extra></extra>",
    )
    plot.add_vline(x=1, line={"color": GREY, "width": 1, "dash": "dot"})
    return plot


def _points(
    plot: go.Figure,
    name: str,
    evaluations: Sequence[Evaluation],
    marker: dict[str, object],
    height: float | None = None,
) -> None:
    if not evaluations:
        return
    plot.add_scatter(
        x=[(e.size or 0) + _aside(e.number) for e in evaluations],
        y=[e.perplexity if height is None else height for e in evaluations],
        name=f"{name} ({len(evaluations)})",
        mode="markers",
        marker=marker,
        hovertext=[hover_of(e) for e in evaluations],
        customdata=[card_of(e) for e in evaluations],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _aside(number: int) -> float:
    """A step to the side, at most 0.3 nodes, so that points of one size do not hide each other.

    The multiples of the golden ratio spread evenly, however many there are.
    """
    return 0.6 * (number * 0.618034 % 1) - 0.3


def _level(plot: go.Figure, value: float, text: str) -> None:
    # A shape with a label: annotations of lines are misplaced on logarithmic axes.
    plot.add_shape(
        type="line", xref="paper", x0=0, x1=1, y0=value, y1=value,
        line={"color": GREY, "width": 1, "dash": "dot"},
        label={"text": text, "textposition": "start", "font": {"size": 12, "color": GREY}},
    )  # fmt: skip


def _button(label: str, xs: list[tuple[float, ...]], title: str) -> dict[str, object]:
    return {
        "label": label,
        "method": "update",
        "args": [{"x": [list(x) for x in xs]}, {"xaxis.title.text": title}],
    }


def _zoom(label: str, extent: list[float]) -> dict[str, object]:
    return {"label": label, "method": "relayout", "args": [{"yaxis.range": extent}]}
