"""Individuals and pending candidates as plain JSON values and back, for checkpoints."""

from __future__ import annotations

from typing import Any

from deap import gp

from pruner_zero.metric import Metric
from pruner_zero.search.individual import Baseline, Candidate, Individual, or_infinity, or_none
from pruner_zero.search.primitives import metric_to_nodes, tree_to_metric

Member = dict[str, Any]


def metric_of(candidate: Individual) -> Metric:
    """The metric of an individual that has become a candidate, whose tree stays as it is.

    It is read off the tree once: all members are asked for theirs at every candidate.
    """
    if candidate.metric is None:
        candidate.metric = tree_to_metric(candidate)
    return candidate.metric


def to_member(individual: Individual) -> Member:
    """Return an evaluated individual as JSON values; infinity, which JSON lacks, becomes null."""
    return {
        "expression": str(metric_of(individual)),
        "perplexity": or_none(individual.perplexity),
        "digest": individual.digest,
        "number": individual.number,
        "scope": individual.scope,
        "losses": [or_none(loss) for loss in individual.losses],
        "complete": individual.complete,
        "parts": list(individual.parts),
    }


def from_member(member: Member, primitives: gp.PrimitiveSet) -> tuple[Individual, float]:
    """Return the individual, not yet rated, and its perplexity.

    The fitness is left to the algorithm, which knows its objectives.
    """
    individual = Individual(metric_to_nodes(Metric.parse(member["expression"]), primitives))
    individual.digest = member["digest"]
    individual.number = member["number"]
    individual.scope = member["scope"]
    individual.losses = tuple(map(or_infinity, member["losses"]))
    individual.complete = member["complete"]
    individual.parts = tuple(member["parts"])
    return individual, or_infinity(member["perplexity"])


def to_pending(candidate: Candidate) -> Member:
    """Return a candidate that is not evaluated yet as JSON values."""
    baseline = candidate.baseline
    return {
        "number": candidate.number,
        "generation": candidate.generation,
        "operation": candidate.operation,
        "parents": list(candidate.parents),
        "expression": str(candidate.raw),
        "simplified": str(candidate.metric),
        "scope": candidate.individual.scope,
        "baseline": baseline and [baseline.digest, or_none(baseline.perplexity)],
    }


def from_pending(record: Member, primitives: gp.PrimitiveSet) -> Candidate:
    """Return the candidate that `to_pending` wrote."""
    metric = Metric.parse(record["simplified"])
    individual = Individual(metric_to_nodes(metric, primitives))
    individual.scope = record["scope"]
    individual.number = record["number"]
    baseline = record["baseline"]
    return Candidate(
        number=record["number"],
        generation=record["generation"],
        operation=record["operation"],
        parents=tuple(record["parents"]),
        raw=Metric.parse(record["expression"]),
        metric=metric,
        individual=individual,
        baseline=baseline and Baseline(baseline[0], or_infinity(baseline[1])),
    )
