"""What evolves: a DEAP tree with its fitness, and the record of where it came from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
        metric: what the tree says, once it was asked for; see `members.metric_of`.
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
        self.parts: tuple[float, ...] = ()
        self.metric: Metric | None = None

    @property
    def perplexity(self) -> float:
        """The first objective, whatever others the fitness has."""
        value: float = self.fitness.values[0]
        return value


class Ranked(NamedTuple):
    """A place in the hall of fame: the metric, its scope and its perplexity on search windows."""

    metric: Metric
    scope: str | None
    perplexity: float


class FrontMember(NamedTuple):
    """A metric of a Pareto front.

    Attributes:
        metric: the simplified metric.
        scope: None for the run's own.
        perplexity: on the search windows; of a joint fitness the geometric mean of its parts.
        size: nodes of the formula.
        parts: perplexities of the parts of a joint fitness, where each is an objective.
    """

    metric: Metric
    scope: str | None
    perplexity: float
    size: int
    parts: tuple[float, ...]


@dataclass(frozen=True)
class FitnessResult:
    """What evaluating one metric gave.

    Attributes:
        perplexity: on the search windows; infinity when the metric failed.
        tokens: predicted tokens that were computed; 0 when no forward pass was needed.
        cost: predicted tokens that it took or, had no earlier run been of help, would have taken.
        seconds: wall-clock time of the evaluation.
        reason: why it failed, None when it did not.
        digest: identity of the masks: equal digests are equal pruned models.
        losses: negative log likelihood of each evaluated window, in nats, in the order of the text.
        complete: False when racing stopped the evaluation early; the perplexity is then an
            estimate and the metric is no candidate for the hall of fame.
        known_by: what made a forward pass needless: ``expression`` or ``digest`` (seen in this
            run), ``ledger`` (in an earlier one), None when there was one.
        fingerprint: the look of its masks on the probe, None when there is none.
        parts: the results of which this one is the mean, where fitness is joint.
    """

    perplexity: float
    tokens: int = 0
    cost: int = 0
    seconds: float = 0.0
    reason: str | None = None
    digest: str | None = None
    losses: tuple[float, ...] = ()
    complete: bool = True
    known_by: str | None = None
    fingerprint: str | None = None
    parts: tuple[FitnessResult, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> FitnessResult:
        """Return the result that a record of the evaluation log holds."""
        return cls(
            perplexity=or_infinity(record["perplexity"]),
            tokens=record["tokens"],
            cost=record["cost"],
            seconds=record["seconds"],
            reason=record["reason"],
            digest=record["digest"],
            losses=tuple(map(or_infinity, record["losses"])),
            complete=record["complete"],
            known_by=record["known_by"],
            fingerprint=record["fingerprint"],
            parts=tuple(cls.from_record(part) for part in record.get("parts", ())),
        )

    def record(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        plain = {
            "perplexity": or_none(self.perplexity),
            "reason": self.reason,
            "complete": self.complete,
            "losses": [or_none(loss) for loss in self.losses],
            "tokens": self.tokens,
            "cost": self.cost,
            "seconds": round(self.seconds, 4),
            "known_by": self.known_by,
            "digest": self.digest,
            "fingerprint": self.fingerprint,
        }
        return {**plain, "parts": [part.record() for part in self.parts]} if self.parts else plain


class Baseline(NamedTuple):
    """What a tuned individual is to be better than: the masks and perplexity of its parent."""

    digest: str | None
    perplexity: float


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
        baseline: of a tuned individual, None of others.
    """

    number: int
    generation: int
    operation: str
    parents: tuple[int, ...]
    raw: Metric
    metric: Metric
    individual: Individual = field(compare=False)
    baseline: Baseline | None = None

    @property
    def key(self) -> tuple[Metric, str | None]:
        """What it asks for: the metric and the scope."""
        return self.metric, self.individual.scope

    def record(self, result: FitnessResult) -> dict[str, Any]:
        """Return the evaluation as one plain JSON-ready record."""
        return {
            "evaluation": self.number,
            "generation": self.generation,
            "operation": self.operation,
            "parents": list(self.parents),
            "expression": str(self.raw),
            "simplified": str(self.metric),
            "scope": self.individual.scope,
            **result.record(),
        }


def or_none(value: float) -> float | None:
    """A number for JSON, which has no infinity and no NaN: null stands for both."""
    return value if math.isfinite(value) else None


def or_infinity(value: float | None) -> float:
    """The number that `or_none` wrote."""
    return math.inf if value is None else value
