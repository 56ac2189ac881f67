"""How all figures look, and the text that hovering shows."""

from __future__ import annotations

import html
import textwrap
from typing import Any

import plotly.graph_objects as go

from pruner_zero.report.evaluation import Evaluation

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0b62a4", "#d9822b", "#1b8a5a", "#b3261e", "#8659a8", "#8b929c"
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, "#4aa3c7", "#7a6a2f", GREY)
GRID, INK = "#e6e8ec", "#24292f"
_WIDTH = 38  # characters of a line in a hover label; fits a phone


def figure(x: str, y: str, height: int = 420, **layout: Any) -> go.Figure:
    """Return an empty figure.

    Args:
        x: title of the horizontal axis.
        y: title of the vertical one.
        height: in pixels; the width is the page's.
        layout: what else Plotly's layout takes.
    """
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": GRID,
    }
    if layout.get("yaxis_type") == "log":
        # Whole numbers, where Plotly would write lone digits.
        layout["yaxis_tickformat"] = "~s"
    return go.Figure(
        layout={
            "template": None,
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 44, "b": 8},
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
            "colorway": COLOURS,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "white",
            "hovermode": "closest",
            "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"size": 13}},
            "legend": {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
            "xaxis": {**axis, "title": {"text": x}},
            "yaxis": {**axis, "title": {"text": y}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#b3bac4", "activecolor": INK},
            **layout,
        }
    )


def wrapped(text: str) -> str:
    """Return a text for a hover label, in lines that fit a phone."""
    lines = textwrap.wrap(text, _WIDTH, break_on_hyphens=False) or [""]
    return "<br>".join(html.escape(line) for line in lines)


def details(evaluation: Evaluation) -> str:
    """Return what is known of a candidate besides its formula, in one line."""
    facts = [f"no. {evaluation.number}", evaluation.operation]
    if evaluation.scope:
        facts.append(f"scope {evaluation.scope}")
    if evaluation.size is not None:
        facts.append(f"size {evaluation.size}")
    if evaluation.reason is not None:
        facts.append(f"failed: {evaluation.reason}")
    elif evaluation.complete:
        facts.append(f"perplexity {evaluation.perplexity:.2f}")
    else:
        facts.append(f"perplexity about {evaluation.perplexity:.4g}, stopped early")
    return " · ".join(facts)


def hover_of(evaluation: Evaluation) -> str:
    """Return the hover label of a candidate: its formula, then its facts."""
    return f"<b>{wrapped(evaluation.formula)}</b><br>{wrapped(details(evaluation))}"


def card_of(evaluation: Evaluation) -> list[str]:
    """Return what the page shows below a figure when a candidate's point is touched."""
    return [evaluation.formula, details(evaluation)]


def views(buttons: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what chooses above a figure among ways to look at it: two buttons, or a list."""
    few = len(buttons) <= 2
    return {
        "type": "buttons" if few else "dropdown",
        "direction": "right" if few else "down",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "pad": {"t": 0, "b": 4},
        "bgcolor": "white",
        "bordercolor": GRID,
        "font": {"size": 12},
        "buttons": buttons,
    }
