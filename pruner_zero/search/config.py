"""What a search can be told; Hydra fills it, Python callers construct it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric import SIMPLIFICATIONS, TERMINALS, Metric

ALGORITHMS = ("steady_state", "random")


@dataclass
class VariationConfig:
    """How trees are born and changed.

    Attributes:
        min_depth: least depth of random trees (edges from root to leaf).
        max_depth: greatest depth of random trees.
        depth_limit: deepest tree that variation may make; deeper offspring are refused.
        size_limit: most nodes that variation may make.
        crossover_probability: chance that an offspring mixes two parents.
        mutation_probability: chance that a node of an offspring is replaced by another of the
            same arity.
        attempts: how often to try for an offspring that the population does not hold yet.
    """

    min_depth: int = 2
    max_depth: int = 4
    depth_limit: int = 8
    size_limit: int = 32
    crossover_probability: float = 0.9
    mutation_probability: float = 0.5
    attempts: int = 20

    def check(self) -> None:
        """Raise a UserError for impossible values."""
        if not 0 <= self.min_depth <= self.max_depth <= self.depth_limit:
            raise UserError(
                "search.variation needs 0 <= min_depth <= max_depth <= depth_limit, got "
                f"{self.min_depth}, {self.max_depth}, {self.depth_limit}"
            )
        if self.depth_limit > 32 or not 1 <= self.size_limit <= 512:
            raise UserError("search.variation allows depth_limit up to 32 and size_limit 1 to 512")
        for name in ("crossover_probability", "mutation_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"search.variation.{name} must lie in [0, 1]")
        if self.attempts < 1:
            raise UserError("search.variation.attempts must be at least 1")


@dataclass
class SearchConfig:
    """One search.

    Attributes:
        algorithm: ``steady_state`` (the paper) or ``random``.
        population_size: individuals kept.
        pool_ratio: share of the population that a tournament samples.
        top_k: best of that pool from which the two parents are drawn.
        generations: ends the search after this many times ``population_size`` offspring.
        evaluations: ends the search after this many forward evaluations (metrics that fail, or
            whose masks are known, cost none); null for no limit.
        minutes: ends the search after this time; null for no limit.
        hall_of_fame: how many of the best metrics are kept.
        seeds: known metrics or formulas that open the initial population; random trees fill it.
        variation: see `VariationConfig`.
    """

    algorithm: str = "steady_state"
    population_size: int = 24
    pool_ratio: float = 0.5
    top_k: int = 5
    generations: int = 10
    evaluations: int | None = None
    minutes: float | None = None
    hall_of_fame: int = 10
    seeds: list[str] = field(default_factory=list)
    variation: VariationConfig = field(default_factory=VariationConfig)

    def check(self) -> None:
        """Raise a UserError for impossible values, before anything is loaded."""
        if self.algorithm not in ALGORITHMS:
            hint = suggest(self.algorithm, ALGORITHMS)
            raise UserError(f"unknown search.algorithm '{self.algorithm}': {hint}")
        if self.population_size < 2:
            raise UserError("search.population_size must be at least 2")
        if not 0 < self.pool_ratio <= 1:
            raise UserError("search.pool_ratio must lie in (0, 1]")
        if self.top_k < 1:
            raise UserError("search.top_k must be at least 1")
        if self.generations < 0:
            raise UserError("search.generations must not be negative")
        if self.evaluations is not None and self.evaluations < 1:
            raise UserError("search.evaluations must be at least 1: nothing would be evaluated")
        if self.minutes is not None and not self.minutes > 0:
            raise UserError("search.minutes must be above 0: nothing would be evaluated")
        if self.hall_of_fame < 1:
            raise UserError("search.hall_of_fame must be at least 1")
        if len(self.seeds) > self.population_size:
            raise UserError(
                f"search.seeds holds {len(self.seeds)} metrics, more than search.population_size"
            )
        self.seed_metrics()
        self.variation.check()

    def seed_metrics(self) -> list[Metric]:
        """Return the metrics of ``seeds``.

        Raises:
            UserError: for one that is neither a known name nor a formula.
        """
        return [
            Metric.parse(seed) if "(" in seed or seed in TERMINALS else Metric.named(seed)
            for seed in self.seeds
        ]

    @property
    def candidates(self) -> int:
        """Most candidates that the search makes: the initial population and all offspring."""
        return self.population_size * (1 + self.generations)


def check_simplification(mode: str) -> None:
    """Raise a UserError when no simplification has this name."""
    if mode not in SIMPLIFICATIONS:
        raise UserError(f"unknown simplify={mode}: {suggest(mode, SIMPLIFICATIONS)}")
