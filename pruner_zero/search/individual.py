"""What evolves: a DEAP tree with its fitness, and the record of where it came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from deap import base, gp

from pruner_zero.metric import Metric


class PerplexityFitness(base.Fitness):
    """One objective, lower is better; DEAP compares the weighted values."""

    weights = (-1.0,)


class Individual(gp.PrimitiveTree):
    """A DEAP tree that carries a fitness, so that every DEAP operator and selector works on it.

    Plain classes take the place of ``deap.creator``, which writes module globals.

    Attributes:
        fitness: invalid until evaluated.
        number: of the candidate that it came from.
        digest: identity of its masks, None when they could not be made.
        scope: whose scores compete, where that is searched too; None for the run's own.
        losses: negative log likelihood of each search window, in nats, in the order of the text.
        complete: whether all windows were evaluated, see `FitnessResult`.
    """

    def __init__(self, nodes: Iterable[gp.Primitive]) -> None:
        """Make an unevaluated individual from nodes in prefix order."""
        super().__init__(nodes)
        self.fitness: base.Fitness = PerplexityFitness()
        self.number = -1
        self.digest: str | None = None
        self.scope: str | None = None
        self.losses: tuple[float, ...] = ()
        self.complete = True

    @property
    def perplexity(self) -> float:
        """The first objective, whatever others the fitness has."""
        value: float = self.fitness.values[0]
        return value


@dataclass(frozen=True)
class FitnessResult:
    """What evaluating one metric gave.

    Attributes:
        perplexity: on the search windows; infinity when the metric failed.
        tokens: predicted tokens; 0 when no forward pass was needed.
        seconds: wall-clock time of the evaluation.
        reason: why it failed, None when it did not.
        digest: identity of the masks: equal digests are equal pruned models.
        cached: whether the perplexity was known from an earlier metric with the same masks.
        losses: negative log likelihood of each evaluated window, in nats, in the order of the text.
        complete: False when racing stopped the evaluation early; the perplexity is then an
            estimate and the metric is no candidate for the hall of fame.
    """

    perplexity: float
    tokens: int
    seconds: float
    reason: str | None = None
    digest: str | None = None
    cached: bool = False
    losses: tuple[float, ...] = ()
    complete: bool = True


@dataclass(frozen=True)
class Candidate:
    """An individual that asks to be evaluated.

    Attributes:
        number: running number, from 1.
        generation: 0 for the initial population, then one per ``population_size`` offspring.
        operation: what made it, such as ``random`` or ``crossover+subtree``.
        parents: numbers of the parent candidates.
        raw: the expression before simplification.
        metric: the simplified metric that is evaluated.
        individual: the DEAP tree of ``metric``, with the scope that it asks for.
    """

    number: int
    generation: int
    operation: str
    parents: tuple[int, ...]
    raw: Metric
    metric: Metric
    individual: Individual = field(compare=False)

    def record(self, result: FitnessResult) -> dict[str, Any]:
        """Return the evaluation as one plain JSON-ready record."""
        finite = result.perplexity < float("inf")
        return {
            "evaluation": self.number,
            "generation": self.generation,
            "operation": self.operation,
            "parents": list(self.parents),
            "expression": str(self.raw),
            "simplified": str(self.metric),
            "scope": self.individual.scope,
            "perplexity": result.perplexity if finite else None,
            "reason": result.reason,
            "tokens": result.tokens,
            "seconds": round(result.seconds, 4),
            "cached": result.cached,
            "digest": result.digest,
        }
