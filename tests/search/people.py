"""Evaluated individuals for tests."""

from __future__ import annotations

from pruner_zero.metric import Metric
from pruner_zero.search.individual import Individual, PerplexityFitness
from pruner_zero.search.primitives import metric_to_nodes, primitive_set

PAPER = primitive_set("paper")


def person(
    text: str,
    perplexity: float = 10.0,
    number: int = 0,
    digest: str | None = None,
    scope: str | None = None,
    complete: bool = True,
) -> Individual:
    individual = Individual(metric_to_nodes(Metric.parse(text), PAPER))
    individual.fitness = PerplexityFitness((perplexity,))
    individual.number = number
    individual.digest = digest
    individual.scope = scope
    individual.complete = complete
    return individual


def numbers(members) -> list[int]:
    return [member.number for member in members]
