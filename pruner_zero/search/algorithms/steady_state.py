"""The paper's evolution: steady state.

In pseudocode::

    population = known metrics if asked for, then random trees; simplified, evaluated
    while the budget lasts:
        pool = sample of the population
        parents = two of the best top_k of the pool
        child = simplify(mutate(crossover(parents)))
        evaluate child, add it, drop the worst
"""

from __future__ import annotations

import random

from deap import tools

from pruner_zero.search.algorithms.base import Proposal, SearchAlgorithm
from pruner_zero.search.individual import Individual


class SteadyState(SearchAlgorithm):
    """One offspring at a time, the worst leaves."""

    def propose(self) -> Proposal:
        """A random tree until the population is full, then an offspring."""
        if self.asked < self.config.population_size:
            return self.random_individual()
        mother, father = self.parents()
        child = self.toolbox.clone(mother)
        operations = []
        parents: tuple[int, ...] = (mother.number,)
        if random.random() < self.config.variation.crossover_probability:
            child, _ = self.toolbox.mate(child, self.toolbox.clone(father))
            operations.append("crossover")
            parents = (mother.number, father.number)
        if random.random() < self.config.variation.mutation_probability:
            (child,) = self.toolbox.mutate(child)
            operations.append("mutation")
        return "+".join(operations) or "copy", parents, child

    def parents(self) -> tuple[Individual, Individual]:
        """Two of the best ``top_k`` of a random pool (tournament over a sampled pool)."""
        size = max(2, round(self.config.pool_ratio * len(self.population)))
        pool = random.sample(self.population, min(size, len(self.population)))
        best = tools.selBest(pool, min(self.config.top_k, len(pool)))
        return random.choice(best), random.choice(best)
