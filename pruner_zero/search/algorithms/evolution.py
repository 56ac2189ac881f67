"""What the evolutionary algorithms share: where an individual comes from."""

from __future__ import annotations

import random
from typing import Any

from deap import gp

from pruner_zero.search.algorithms.base import SearchAlgorithm, Simplify
from pruner_zero.search.breeder import Proposal
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.diversity import standing
from pruner_zero.search.individual import Candidate, FitnessResult, Individual
from pruner_zero.search.tuning import Tuner


class Evolution(SearchAlgorithm):
    """Random trees at first; then offspring of two parents, better numbers, or immigrants."""

    def __init__(
        self, config: SearchConfig, seed: int, simplify: Simplify, primitives: gp.PrimitiveSet
    ) -> None:
        """Make a search with a tuner that has learnt nothing yet."""
        super().__init__(config, seed, simplify, primitives)
        self.tuner = Tuner(config.tune)

    def propose(self) -> Proposal:
        """A random tree until the population is full, then an offspring or an immigrant."""
        if self.asked < self.config.population_size or len(self.population) < 2:
            return self.breeder.newborn()
        if self.config.immigrants and random.random() < self.config.immigrants:
            return self.breeder.newborn()
        if random.random() < self.config.tune.share:
            tuned = self.tuner.propose(self.hall_of_fame)
            if tuned is not None:
                return tuned
        return self.breeder.offspring(*self.parents())

    def parents(self) -> tuple[Individual, Individual]:
        """Two of the best ``top_k`` of a random pool (tournament over a sampled pool)."""
        ranked = standing(self.population, self.config.diversity)
        size = max(2, round(self.config.pool_ratio * len(ranked)))
        pool = sorted(random.sample(range(len(ranked)), min(size, len(ranked))))
        best = [ranked[rank] for rank in pool[: self.config.top_k]]
        return random.choice(best), random.choice(best)

    def tell(self, candidate: Candidate, result: FitnessResult) -> None:
        """Take a candidate's result; the tuner learns from it too."""
        self.tuner.learn(candidate, result)
        super().tell(candidate, result)

    def state(self) -> dict[str, Any]:
        """The state of every search, and what the tuner has learnt."""
        return {**super().state(), "tuner": self.tuner.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        super().restore(state)
        self.tuner.restore(state["tuner"])
