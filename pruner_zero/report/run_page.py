"""The page of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.report.drawing import mathml, tree_svg
from pruner_zero.report.evaluation import Evaluation
from pruner_zero.report.genealogy import Genealogy, genealogy
from pruner_zero.report.outcome import BestMetric
from pruner_zero.report.page import Page
from pruner_zero.report.run import Run
from pruner_zero.report.run_figures import (
    convergence_figure,
    expressions_figure,
    genealogy_figure,
    savings_figure,
    words_figure,
)
from pruner_zero.report.savings import failures, left_out, savings
from pruner_zero.report.style import details
from pruner_zero.report.words import distinct_models, word_statistics

_SHOWN = 3  # best metrics that are open when the page is


@dataclass(frozen=True)
class MetricCard:
    """A metric as the page shows it; formula and tree are empty when its words are unknown."""

    rank: int
    best: BestMetric
    size: int | None
    formula: Markup
    tree: Markup
    born: str
    open: bool

    @classmethod
    def of(cls, rank: int, best: BestMetric, run: Run) -> MetricCard:
        """Typeset and draw the metric of a rank (from 1)."""
        evaluation = run.evaluation_of(best)
        born = f"no. {evaluation.number}, {evaluation.operation}" if evaluation else ""
        try:
            metric = Metric.parse(best.formula)
        except UserError:
            return cls(rank, best, None, Markup(), Markup(), born, rank <= _SHOWN)
        return cls(rank, best, metric.size, mathml(metric), tree_svg(metric), born, rank <= _SHOWN)


def run_page(run: Run) -> Page:
    """Return the page of a run: every part that its folder can fill."""
    figures: dict[str, go.Figure] = {}
    ranking = run.ranking()
    family = _family(run, ranking)
    levels = savings(run)
    models = distinct_models(run.evaluations)
    words = word_statistics(models, least=min(3, max(1, len(models) // 10))) if models else []
    if run.evaluations:
        figures["convergence"] = convergence_figure(run)
        figures["expressions"] = expressions_figure(run)
        figures["savings"] = savings_figure(levels)
    if family and family.edges:
        figures["genealogy"] = genealogy_figure(family)
    if words:
        figures["words"] = words_figure(words)
    facts = {
        "run": run,
        "tiles": _tiles(run),
        "outcome": run.outcome,
        "cards": [MetricCard.of(rank, best, run) for rank, best in enumerate(ranking, start=1)],
        "family": family,
        "details": details,
        "failures": failures(run.evaluations),
        "failed": sum(not evaluation.usable for evaluation in run.evaluations),
        "levels": levels,
        "left_out": left_out(run.outcome.counts) if run.outcome else 0,
        "words": words,
        "models": len(models),
        "settings": _settings(run),
    }
    return Page("run.html.j2", f"{run.name} – Pruner-Zero", facts, figures)


def _family(run: Run, ranking: list[BestMetric]) -> Genealogy | None:
    """The genealogy of the best metric that the log knows."""
    for best in ranking:
        if evaluation := run.evaluation_of(best):
            return genealogy(run.evaluations, evaluation.number)
    return None


def _tiles(run: Run) -> list[tuple[str, str, str]]:
    """The numbers at the top: label, value, remark."""
    tiles: list[tuple[str, str, str]] = []
    if run.outcome:
        for place, corpus in product(run.outcome.places, run.outcome.corpora):
            best, dense = place.best(corpus), place.dense(corpus)
            remark = f"dense {dense:.2f}" if dense is not None else ""
            value = "not finite" if best is None else f"{best:.2f}"
            at = f" at {place.label}" if place.label else ""
            tiles.append((f"{corpus} test perplexity{at}", value, remark))
    lowest: Evaluation | None = run.lowest
    if lowest:
        tiles.append(("best search perplexity", f"{lowest.perplexity:.2f}", ""))
    if run.evaluations:
        cost = sum(evaluation.cost for evaluation in run.evaluations) / run.full_tokens
        failed = sum(not evaluation.usable for evaluation in run.evaluations)
        tiles.append(("candidates", f"{len(run.evaluations)}", f"{failed} failed"))
        tiles.append(("cost", f"{cost:.1f}", "full evaluations"))
        seconds = sum(evaluation.seconds for evaluation in run.evaluations)
        tiles.append(("evaluation time", f"{seconds / 60:.1f}", "minutes"))
    return tiles


def _settings(run: Run) -> list[tuple[str, Any]]:
    """The settings that say what was searched, in words."""
    known: Mapping[str, str] = {
        "model": "model.name",
        "text": "corpus.name",
        "sparsity": "sparsity",
        "operators": "operators",
        "terminals": "terminals",
        "search": "search.algorithm",
        "simplify": "simplify",
        "seed": "seed",
    }
    rows = [(label, run.setting(key)) for label, key in known.items()]
    models = [run.setting("model.path") or run.setting("model.name")]
    rows[0] = ("model", _listed([*models, *(run.setting("fitness.models") or [])]))
    rows[1] = (
        "text",
        _listed([run.setting("corpus.name"), *(run.setting("fitness.domains") or [])]),
    )
    if several := run.setting("fitness.sparsity"):
        rows[2] = ("sparsity", _listed(several))
    if (update := run.setting("fitness.update")) not in (None, "none"):
        rows.append(("weight update", update))
    if (mode := run.setting("mode")) not in (None, "one_shot"):
        rows.append(("validation and test prune", mode))
    return [(label, value) for label, value in rows if value is not None]


def _listed(values: list[Any]) -> str | None:
    known = [str(value) for value in values if value is not None]
    return " and ".join(known) or None
