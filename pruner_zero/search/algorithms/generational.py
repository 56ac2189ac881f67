"""Generations: offspring of one population are collected, then all compete for the next one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from deap import gp

from pruner_zero.search.algorithms.base import Simplify
from pruner_zero.search.algorithms.evolution import Evolution
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.individual import Individual
from pruner_zero.search.members import to_member
from pruner_zero.search.twins import without_twins


class Generational(Evolution):
    """Parents stay the same until the last offspring of their generation is evaluated.

    The initial population is the brood of no parents. Failures never become parents.
    """

    def __init__(
        self, config: SearchConfig, seed: int, simplify: Simplify, primitives: gp.PrimitiveSet
    ) -> None:
        """Make a search without parents."""
        super().__init__(config, seed, simplify, primitives)
        self.brood: list[Individual] = []

    @abstractmethod
    def select(self, members: list[Individual]) -> list[Individual]:
        """Choose at most ``population_size`` of parents and offspring, all of different masks."""

    def may_ask(self) -> bool:
        """Whether the parents of the next candidate have been selected."""
        generation = self.config.generation
        return generation(self.asked + 1) == generation(self.told + 1)

    def admit(self, individual: Individual) -> None:
        """Collect an offspring; with the last one of a generation, select."""
        self.brood.append(individual)
        generation = self.config.generation
        if generation(individual.number + 1) > generation(individual.number):
            members = without_twins([*self.population, *self.brood])
            self.population = self.select([m for m in members if m.perplexity < float("inf")])
            self.brood = []

    def living(self) -> list[Individual]:
        """Return parents and the offspring so far."""
        return [*self.population, *self.brood]

    def state(self) -> dict[str, Any]:
        """The state of every evolution, and the offspring of the present generation."""
        return {**super().state(), "brood": [to_member(m) for m in self.brood]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        super().restore(state)
        self.brood = self.members(state["brood"])
