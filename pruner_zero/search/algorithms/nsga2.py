"""NSGA-II (Deb et al. 2002): low perplexity and short formulas at once.

In pseudocode::

    population = known metrics or random trees
    while the budget lasts:
        offspring = children of parents, each the better of two random individuals:
                    of the better front, then of the emptier place on it
        population = best fronts of population and offspring, the last one thinned by crowding

The answer is the front of all completely evaluated metrics that no other one beats in both. Where
fitness is joint, ``search.objectives=parts`` makes the perplexity of every part an objective beside
their mean. The mean is then needless for dominance (who is better in no part and not smaller cannot
have a better mean), but it stays the first objective, by which the hall of fame ranks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from deap import base, gp, tools

from pruner_zero.search.algorithms.base import Simplify
from pruner_zero.search.algorithms.generational import Generational
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.individual import FrontMember, Individual
from pruner_zero.search.members import metric_of, to_member


@lru_cache
def pareto_fitness(objectives: int) -> type[base.Fitness]:
    """The fitness with so many objectives, lower is better in each."""
    return type(f"Pareto{objectives}", (base.Fitness,), {"weights": (-1.0,) * objectives})


class NSGA2(Generational):
    """Evolves a Pareto front of perplexity and size, or of several perplexities and size."""

    def __init__(
        self, config: SearchConfig, seed: int, simplify: Simplify, primitives: gp.PrimitiveSet
    ) -> None:
        """Make a search with an empty front."""
        super().__init__(config, seed, simplify, primitives)
        # One metric per pair of objectives: the first that reached it.
        self.archive = tools.ParetoFront(similar=lambda one, other: True)
        self.parts = 0

    def front(self) -> list[FrontMember]:
        """The Pareto front, from the best perplexity to the shortest formula."""
        parts = self.config.objectives == "parts"
        return [
            FrontMember(metric_of(m), m.scope, m.perplexity, len(m), m.parts if parts else ())
            for m in self.archive
        ]

    def rate(self, individual: Individual, perplexity: float) -> None:
        """Give an individual its objectives; a failure is infinitely bad in every part."""
        parts: tuple[float, ...] = ()
        if self.config.objectives == "parts":
            self.parts = max(self.parts, len(individual.parts))
            parts = individual.parts or (math.inf,) * self.parts
        values = (perplexity, *parts, len(individual))
        individual.fitness = pareto_fitness(len(values))(values)

    def honour(self, individual: Individual) -> None:
        """Put a completely evaluated individual where it belongs: hall of fame, front."""
        super().honour(individual)
        self.archive.update([individual])

    def answer(self) -> Hashable:
        """The objectives of the front."""
        return tuple(member.fitness.values for member in self.archive)

    def parents(self) -> tuple[Individual, Individual]:
        """Two winners of tournaments of two."""
        return self._winner(), self._winner()

    def _winner(self) -> Individual:
        standing = self._standing()
        pair = random.sample(self.population, 2)
        return min(pair, key=lambda member: standing[member.number])

    def _standing(self) -> dict[int, tuple[int, float]]:
        """Front and crowding of every member, by its number; lower is better."""
        fronts = tools.sortNondominated(self.population, len(self.population))
        standing = {}
        for rank, front in enumerate(fronts):
            tools.emo.assignCrowdingDist(front)
            for member in front:
                standing[member.number] = (rank, -member.fitness.crowding_dist)
        return standing

    def select(self, members: list[Individual]) -> list[Individual]:
        """Choose by fronts and crowding; infinite objectives, which have no distance, are out."""
        selected: list[Individual] = tools.selNSGA2(members, self.config.population_size)
        return selected

    def state(self) -> dict[str, Any]:
        """The state of every generational search, and the front."""
        return {**super().state(), "front": [to_member(m) for m in self.archive]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        super().restore(state)
        self.archive.clear()
        self.archive.update(self.members(state["front"]))
