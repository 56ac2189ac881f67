"""Which words go with good fitness: operators, terminals and scopes of what was evaluated."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pruner_zero.metric import OPERATORS, TERMINALS, Metric
from pruner_zero.report.evaluation import Evaluation


@dataclass(frozen=True)
class Word:
    """One word.

    Attributes:
        name: an operator, a terminal, or ``@scope``.
        kind: ``operator``, ``terminal`` or ``scope``.
        metrics: how many hold it.
        lift: its share among the best over its share among all: above 1 it goes with good ones.
        shift: median loss of its holders less the median of the others, in the loss's unit; 0.0
            when every metric holds it.
    """

    name: str
    kind: str
    metrics: int
    lift: float
    shift: float


def words_of(metric: Metric, scope: str | None = None) -> frozenset[str]:
    """The words of a metric, its scope among them when there is one."""
    labels = {node.label for node in metric.expression.nodes()}
    words = {label for label in labels if label in OPERATORS or label in TERMINALS}
    return frozenset(words | ({f"@{scope}"} if scope else set()))


def word_statistics(
    metrics: Sequence[tuple[frozenset[str], float]], best: float = 0.1, least: int = 1
) -> list[Word]:
    """Say how words go with losses, the highest lift first.

    Args:
        metrics: words and loss (lower is better) of each distinct pruned model.
        best: share of the metrics that counts as good.
        least: metrics that must hold a word.
    """
    ranked = sorted(metrics, key=lambda metric: metric[1])
    good = ranked[: max(1, math.ceil(best * len(ranked)))]
    rows = []
    for word in sorted(set().union(*(words for words, _ in ranked))):
        held = [loss for words, loss in ranked if word in words]
        if len(held) < least:
            continue
        share = len(held) / len(ranked)
        lift = sum(word in words for words, _ in good) / len(good) / share
        others = [loss for words, loss in ranked if word not in words]
        shift = statistics.median(held) - statistics.median(others) if others else 0.0
        rows.append(Word(word, _kind(word), len(held), lift, shift))
    return sorted(rows, key=lambda row: (-row.lift, row.name))


def distinct_models(evaluations: Iterable[Evaluation]) -> list[tuple[frozenset[str], float]]:
    """Words and log perplexity of every distinct pruned model: equal masks count once."""
    first: dict[str, tuple[frozenset[str], float]] = {}
    for evaluation in evaluations:
        if evaluation.usable and evaluation.metric is not None:
            key = evaluation.digest or f"{evaluation.formula}@{evaluation.scope}"
            words = words_of(evaluation.metric, evaluation.scope)
            first.setdefault(key, (words, math.log(evaluation.perplexity)))
    return list(first.values())


def _kind(word: str) -> str:
    if word.startswith("@"):
        return "scope"
    return "operator" if word in OPERATORS else "terminal"
