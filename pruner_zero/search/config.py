"""What a search can be told; Hydra fills it, Python callers construct it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pruner_zero.errors import UserError, check_distinct, suggest
from pruner_zero.metric import SIMPLIFICATIONS
from pruner_zero.model.sparsity import SCOPES, NofM, SparsityPattern
from pruner_zero.search.seeds import Seed
from pruner_zero.search.variation_config import TuneConfig, VariationConfig

ALGORITHMS = ("steady_state", "mu_plus_lambda", "nsga2", "random")
GENERATIONAL = ("mu_plus_lambda", "nsga2")
INITS = ("grow", "full", "half_and_half")
DIVERSITIES = ("none", "sharing", "age")
OBJECTIVES = ("mean", "parts")


@dataclass
class SearchConfig:
    """One search.

    Attributes:
        algorithm: ``steady_state`` (the paper), ``mu_plus_lambda``, ``nsga2`` or ``random``.
        population_size: individuals kept.
        offspring_size: offspring per generation of ``mu_plus_lambda`` and ``nsga2``; null for as
            many as ``population_size``.
        objectives: of ``nsga2``: ``mean`` (perplexity, which is the mean where fitness is joint,
            and size) or ``parts`` (the perplexity of each part of a joint fitness, and size).
        init: shape of random trees: ``grow``, ``full`` or ``half_and_half``.
        pool_ratio: share of the population that a tournament samples.
        top_k: best of that pool from which the two parents are drawn.
        crossover_probability: chance that an offspring mixes two parents.
        mutation_probability: chance that an offspring is mutated, once.
        immigrants: share of random trees among the offspring (random immigrants, Grefenstette
            1992): fresh material for a population whose trees have grown short and alike.
        diversity: what keeps a population from becoming one family, see `diversity`.
        generations: ends the search after this many times the offspring of one generation.
        evaluations: ends the search after the tokens of this many full evaluations (one that is
            stopped early costs a part; metrics that fail, or whose masks are known, cost none);
            null for no limit.
        minutes: ends the search after this time, which a resumed search has anew; null for no
            limit.
        stagnation: ends the search after this many candidates without a new best; null for never.
        hall_of_fame: how many of the best metrics are kept.
        seeds: known metrics or formulas that open the initial population, with a scope after
            ``@`` if wanted, or ``@all`` for each of ``scopes``; random trees fill it.
        scopes: scopes that individuals choose from; empty for the run's own, not searched.
        constants: numbers that random trees may hold beside the terminals.
        variation: see `VariationConfig`.
        tune: see `TuneConfig`.
    """

    algorithm: str = "steady_state"
    population_size: int = 24
    offspring_size: int | None = None
    objectives: str = "mean"
    init: str = "half_and_half"
    pool_ratio: float = 0.5
    top_k: int = 5
    crossover_probability: float = 0.9
    mutation_probability: float = 0.5
    immigrants: float = 0.0
    diversity: str = "none"
    generations: int = 10
    evaluations: int | None = None
    minutes: float | None = None
    stagnation: int | None = None
    hall_of_fame: int = 10
    seeds: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    constants: list[float] = field(default_factory=list)
    variation: VariationConfig = field(default_factory=VariationConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)

    def check(self) -> None:
        """Raise a UserError for impossible values, before anything is loaded."""
        self._check_names()
        self._check_sizes()
        self._check_budget()
        count = len(self.known_metrics())
        if count > self.population_size:
            raise UserError(f"search.seeds holds {count} metrics, more than search.population_size")
        if not all(math.isfinite(value) and abs(value) < 1e30 for value in self.constants):
            raise UserError("search.constants must be finite numbers below 1e30")
        check_distinct("search.constants", self.constants)
        self.variation.check()
        self.tune.check()
        if self.mutation_probability and self.variation.mutation_weights.all_zero:
            raise UserError(
                "search.variation.mutation_weights are all 0: "
                "for no mutation set search.mutation_probability=0"
            )

    def _check_names(self) -> None:
        _check_name("algorithm", self.algorithm, ALGORITHMS)
        _check_name("init", self.init, INITS)
        _check_name("diversity", self.diversity, DIVERSITIES)
        _check_name("objectives", self.objectives, OBJECTIVES)
        if self.objectives != "mean" and self.algorithm != "nsga2":
            raise UserError(f"search.objectives=parts is for nsga2, not for {self.algorithm}")
        for scope in self.scopes:
            _check_name("scopes", scope, SCOPES)
        check_distinct("search.scopes", self.scopes)
        if self.diversity != "none" and self.algorithm in ("nsga2", "random"):
            raise UserError(
                f"search.diversity={self.diversity} is for steady_state and mu_plus_lambda, "
                f"not for {self.algorithm}"
            )

    def _check_sizes(self) -> None:
        if self.population_size < 2:
            raise UserError("search.population_size must be at least 2")
        if self.offspring_size is not None:
            if self.algorithm not in GENERATIONAL:
                raise UserError(
                    f"search.offspring_size is for {' and '.join(GENERATIONAL)}, "
                    f"not for {self.algorithm}"
                )
            if self.offspring_size < 1:
                raise UserError("search.offspring_size must be at least 1")
        if not 0 < self.pool_ratio <= 1:
            raise UserError("search.pool_ratio must lie in (0, 1]")
        if self.top_k < 1:
            raise UserError("search.top_k must be at least 1")
        for name in ("crossover_probability", "mutation_probability", "immigrants"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"search.{name} must lie in [0, 1]")
        if self.hall_of_fame < 1:
            raise UserError("search.hall_of_fame must be at least 1")

    def _check_budget(self) -> None:
        if self.generations < 0:
            raise UserError("search.generations must not be negative")
        if self.evaluations is not None and self.evaluations < 1:
            raise UserError("search.evaluations must be at least 1: nothing would be evaluated")
        if self.minutes is not None and not self.minutes > 0:
            raise UserError("search.minutes must be above 0: nothing would be evaluated")
        if self.stagnation is not None and self.stagnation < 1:
            raise UserError("search.stagnation must be at least 1: the first best would end it")

    def known_metrics(self) -> list[Seed]:
        """Return the metrics of ``seeds``.

        Raises:
            UserError: for one that is neither a known name nor a formula.
        """
        return [seed for text in self.seeds for seed in Seed.parse_all(text, self.scopes)]

    @property
    def brood(self) -> int:
        """Offspring of one generation."""
        return self.offspring_size or self.population_size

    @property
    def candidates(self) -> int:
        """Most candidates that the search makes: the initial population and all offspring."""
        return self.population_size + self.brood * self.generations

    def generation(self, number: int) -> int:
        """Return the generation of a candidate, 0 for the initial population."""
        return max(0, math.ceil((number - self.population_size) / self.brood))


def _check_name(key: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UserError(f"unknown search.{key} '{name}': {suggest(name, known)}")


def check_simplification(mode: str) -> None:
    """Raise a UserError when no simplification has this name."""
    if mode not in SIMPLIFICATIONS:
        raise UserError(f"unknown simplify={mode}: {suggest(mode, SIMPLIFICATIONS)}")


def check_scopes(config: SearchConfig, pattern: SparsityPattern) -> None:
    """Raise a UserError when scopes are asked for where the pattern has its own groups."""
    if isinstance(pattern, NofM):
        if config.scopes:
            raise UserError(f"sparsity {pattern} competes inside each group: drop search.scopes")
        if any(seed.scope for seed in config.known_metrics()):
            raise UserError(
                f"sparsity {pattern} competes inside each group: drop the @scope of search.seeds"
            )
