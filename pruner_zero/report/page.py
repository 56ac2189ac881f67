"""A page: one HTML file that needs nothing else, no server and no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pruner_zero.files import write_atomic


@dataclass
class Page:
    """A page in the making.

    Attributes:
        template: its file in ``templates/``.
        title: of the browser's tab.
        facts: what the template shows.
        figures: by the name under which the template places them.
    """

    template: str
    title: str
    facts: Mapping[str, Any]
    figures: Mapping[str, go.Figure] = field(default_factory=dict)

    def html(self) -> str:
        """Return the page with styles, scripts and Plotly's own script inside."""
        environment = Environment(
            loader=PackageLoader("pruner_zero.report", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["number"] = number
        own = files("pruner_zero.report") / "templates"
        return environment.get_template(self.template).render(
            title=self.title,
            figures={name: _json(plot) for name, plot in self.figures.items()},
            # An end tag inside a script would end it; Plotly's own text holds none.
            plotly=Markup(get_plotlyjs()),
            css=Markup((own / "page.css").read_text(encoding="utf-8")),
            js=Markup((own / "page.js").read_text(encoding="utf-8")),
            **self.facts,
        )

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all.

        Raises:
            UserError: the place cannot be written.
        """
        write_atomic(path, self.html())


def number(value: float | None) -> str:
    """A perplexity in a table: two decimals, powers of ten where it is huge, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.2f}" if abs(value) < 1e5 else f"{value:.2e}"


def _json(plot: go.Figure) -> Markup:
    """A figure as JSON that may stand inside a script element."""
    return Markup(plot.to_json().replace("<", "\\u003c"))
