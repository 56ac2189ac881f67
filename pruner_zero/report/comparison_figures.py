"""The figures of several runs: convergence, fronts, and the swept settings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import product

import plotly.graph_objects as go

from pruner_zero.report.convergence import Curve, common_costs, spread
from pruner_zero.report.front import pareto_front
from pruner_zero.report.run import Run, finite
from pruner_zero.report.style import (
    BLUE,
    COLOURS,
    GREEN,
    card_of,
    figure,
    hover_of,
    views,
    wrapped,
)
from pruner_zero.report.sweep import Axis, Group, seed

Quantity = tuple[str, Callable[[Run], float | None]]


def quantities(runs: Sequence[Run]) -> list[Quantity]:
    """Return what runs can be judged by, each a name and a function from a run to a number.

    A quantity that no run has is left out; so the search perplexity, which every run has that
    evaluated a candidate completely, comes last: final numbers say more.
    """
    corpora = dict.fromkeys(c for run in runs if run.outcome for c in run.outcome.corpora)
    found: list[Quantity] = [(f"{corpus} test perplexity", _test(corpus)) for corpus in corpora]
    found += [("validation perplexity", _validation), ("lowest search perplexity", _search)]
    return [(name, of) for name, of in found if any(of(run) is not None for run in runs)]


def curves_figure(gathered: Sequence[Group]) -> go.Figure:
    """Best perplexity against cost; where a group has several seeds their median and range."""
    plot = figure(
        "cost, full evaluations", "best search perplexity", 440, yaxis_type="log", margin_t=32
    )
    for index, group in enumerate(gathered):
        colour = COLOURS[index % len(COLOURS)]
        curves = [Curve.of(run) for run in group.runs if run.evaluations]
        if not curves:
            continue
        if len(curves) == 1:
            xs: list[float] | tuple[float, ...] = curves[0].cost
            middle = [finite(value) for value in curves[0].best]
        else:
            course = spread(curves, common_costs(curves))
            xs, middle = list(course.cost), list(course.middle)
            known = [i for i, value in enumerate(course.low) if value is not None]
            plot.add_scatter(
                x=[xs[i] for i in known] + [xs[i] for i in reversed(known)],
                y=[course.high[i] for i in known] + [course.low[i] for i in reversed(known)],
                fill="toself", fillcolor=colour, opacity=0.15, line={"width": 0},
                hoverinfo="skip", showlegend=False, legendgroup=group.label,
            )  # fmt: skip
        plot.add_scatter(
            x=xs, y=middle, name=group.label, legendgroup=group.label,
            line={"color": colour, "width": 2.5, "shape": "hv"},
            hovertemplate=f"{wrapped(group.label)}<br>best %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    return plot


def fronts_figure(gathered: Sequence[Group]) -> go.Figure:
    """The Pareto front of each group, of all its seeds together."""
    plot = figure(
        "size, nodes of the formula", "search perplexity", 440, yaxis_type="log", margin_t=32
    )
    for index, group in enumerate(gathered):
        front = pareto_front(e for run in group.runs for e in run.evaluations)
        if front:
            plot.add_scatter(
                x=[e.size for e in front], y=[e.perplexity for e in front], name=group.label,
                mode="lines+markers", line={"shape": "hv", "width": 2},
                marker={"size": 9, "color": COLOURS[index % len(COLOURS)]},
                hovertext=[f"{hover_of(e)}<br>{wrapped(group.label)}" for e in front],
                customdata=[card_of(e) for e in front],
                hovertemplate="%{hovertext}<extra></extra>",
            )  # fmt: skip
    return plot


def strips_figure(gathered: Sequence[Group], judged: Sequence[Quantity]) -> go.Figure:
    """Each run as a point in its group's row, a bar at the mean; a list chooses the quantity."""
    # No legend: the page's note says what dots and bars are.
    plot = figure(judged[0][0], "", 120 + 52 * len(gathered), showlegend=False)
    labels = {group.label: group.label.replace(", ", "<br>") for group in gathered}
    for shown, (name, of) in enumerate(judged):
        found = [(group, run, of(run)) for group in gathered for run in group.runs]
        points = [(group, run, value) for group, run, value in found if value is not None]
        plot.add_scatter(
            x=[value for _, _, value in points],
            y=[labels[group.label] for group, _, _ in points],
            mode="markers", marker={"color": BLUE, "size": 10, "opacity": 0.75},
            name="one run", visible=shown == 0,
            hovertext=[f"{wrapped(group.label)}<br>seed {seed(run)}" for group, run, _ in points],
            hovertemplate="%{hovertext}<br>" + name + " %{x:.2f}<extra></extra>",
        )  # fmt: skip
        plot.add_scatter(
            x=[_mean(group, of) for group in gathered], y=list(labels.values()), mode="markers",
            name="mean", visible=shown == 0,
            marker={"color": GREEN, "symbol": "line-ns", "size": 26,
                    "line": {"width": 3, "color": GREEN}},
            hovertemplate="mean %{x:.2f}<extra></extra>",
        )  # fmt: skip
    # Rows from the top, as they are read.
    order = list(reversed(labels.values()))
    plot.update_yaxes(type="category", categoryorder="array", categoryarray=order)
    _choose(plot, [name for name, _ in judged], 2, "xaxis.title.text")
    return plot


def heat_figures(
    gathered: Sequence[Group], varied: Sequence[Axis], judged: Sequence[Quantity]
) -> list[tuple[str, go.Figure]]:
    """Heat maps over the two settings of most values: mean over seeds, range as text and hover.

    Args:
        gathered: runs by their settings.
        varied: at least two axes; there is one map for each combination of the further ones.
        judged: what a list offers.

    Returns:
        Maps with a title, empty where there is one alone.
    """
    across, down, *rest = varied
    maps = []
    for further in product(*(range(len(axis.levels)) for axis in rest)):
        members = {g.levels[:2]: g for g in gathered if g.levels[2:] == further}
        if not members:
            continue
        title = ", ".join(
            f"{axis.key}={axis.levels[level]}" for axis, level in zip(rest, further, strict=True)
        )
        maps.append((title, _heat(members, across, down, judged)))
    return maps


def _heat(
    members: dict[tuple[int, ...], Group], across: Axis, down: Axis, judged: Sequence[Quantity]
) -> go.Figure:
    height = 190 + 64 * len(down.levels)
    plot = figure(across.key, down.key, height)
    for shown, (name, of) in enumerate(judged):
        cells = [
            [_cell(members.get((x, y)), name, of) for x in range(len(across.levels))]
            for y in range(len(down.levels))
        ]
        plot.add_heatmap(
            x=across.levels,
            y=down.levels,
            z=[[value for value, _, _ in row] for row in cells],
            text=[[text for _, text, _ in row] for row in cells],
            hovertext=[[hover for _, _, hover in row] for row in cells],
            texttemplate="%{text}",
            hovertemplate="%{hovertext}<extra></extra>",
            # Low perplexity, which is good, is dark.
            colorscale=[[0, "#0b62a4"], [0.5, "#8fbfe0"], [1, "#f3f7fb"]],
            showscale=False,
            xgap=3,
            ygap=3,
            visible=shown == 0,
        )
    plot.update_xaxes(type="category", showgrid=False)
    plot.update_yaxes(type="category", showgrid=False)
    _choose(plot, [name for name, _ in judged], 1, None)
    return plot


def _cell(
    group: Group | None, name: str, of: Callable[[Run], float | None]
) -> tuple[float | None, str, str]:
    """A cell's number, its text and its hover label."""
    values = [(seed(run), of(run)) for run in group.runs] if group else []
    known = [value for _, value in values if value is not None]
    if group is None or not known:
        return None, "", "no run" if group is None else wrapped(f"{group.label}: no {name}")
    mean = statistics.fmean(known)
    text = f"{mean:.4g}"
    if len(known) > 1:
        text += f"<br><sub>{min(known):.4g}–{max(known):.4g}</sub>"
    lines = [wrapped(group.label), f"mean {name} {mean:.2f}"]
    lines += [f"seed {s}: " + ("none" if v is None else f"{v:.2f}") for s, v in values]
    return mean, text, "<br>".join(lines)


def _choose(plot: go.Figure, names: Sequence[str], each: int, title: str | None) -> None:
    """Add a button per quantity that shows its traces alone; ``each`` of them belong to it."""
    if len(names) < 2:
        return
    buttons = [
        {
            "label": name.removesuffix(" perplexity"),
            "method": "update",
            "args": [
                {"visible": [trace // each == index for trace in range(each * len(names))]},
                {title: name} if title else {},
            ],
        }
        for index, name in enumerate(names)
    ]
    plot.update_layout(updatemenus=[views(buttons)])


def _mean(group: Group, of: Callable[[Run], float | None]) -> float | None:
    known = [value for run in group.runs if (value := of(run)) is not None]
    return statistics.fmean(known) if known else None


def _test(corpus: str) -> Callable[[Run], float | None]:
    return lambda run: run.outcome.best(corpus) if run.outcome else None


def _validation(run: Run) -> float | None:
    picks = run.outcome.picks if run.outcome else ()
    return picks[0].validation if picks else None


def _search(run: Run) -> float | None:
    return run.lowest.perplexity if run.lowest else None
