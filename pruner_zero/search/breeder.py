"""The breeder makes individuals: random ones, and offspring of two parents."""

from __future__ import annotations

import random
from typing import NamedTuple

from deap import base, gp

from pruner_zero.search.config import SearchConfig
from pruner_zero.search.constants import repair_exponents
from pruner_zero.search.individual import Baseline, Individual
from pruner_zero.search.variation import mutation_kinds, variation_toolbox

SECOND_SCOPE_PROBABILITY = 0.1
"""Chance that an offspring of two parents takes the scope of the second one."""


class Proposal(NamedTuple):
    """A new individual, not yet simplified.

    Attributes:
        operation: what made it.
        parents: numbers of the candidates that it comes from.
        individual: the tree, with the scope that it asks for.
        baseline: what a tuned individual is to be better than.
    """

    operation: str
    parents: tuple[int, ...]
    individual: Individual
    baseline: Baseline | None = None


class Breeder:
    """Makes trees within the limits, in which every exponent is a number.

    Everything draws from the ``random`` module: call it inside `drawing_from`.

    Args:
        primitives: what trees are made of.
        config: of the search.
    """

    def __init__(self, primitives: gp.PrimitiveSet, config: SearchConfig) -> None:
        """Register the operators."""
        self.config = config
        self.primitives = primitives
        self.toolbox: base.Toolbox = variation_toolbox(primitives, config)

    def newborn(self) -> Proposal:
        """A random tree; its scope is drawn where scopes are searched."""
        limit = self.config.variation.size_limit
        for _ in range(self.config.variation.attempts):
            individual = Individual(self.toolbox.nodes())
            repair_exponents(individual)
            if len(individual) <= limit:
                break
        while len(individual) > limit:
            # The tree was too large every time: its first argument is smaller.
            individual = Individual(individual[individual.searchSubtree(1)])
        if self.config.scopes:
            individual.scope = random.choice(self.config.scopes)
        return Proposal("random", (), individual)

    def offspring(self, mother: Individual, father: Individual) -> Proposal:
        """Cross two parents, mutate the result, each with its probability."""
        child = bare_copy(mother)
        operations = []
        parents: tuple[int, ...] = (mother.number,)
        if random.random() < self.config.crossover_probability:
            child, _ = self.toolbox.mate(child, bare_copy(father))
            crossed = random.random() < SECOND_SCOPE_PROBABILITY
            child.scope = father.scope if crossed else mother.scope
            operations.append("crossover")
            parents = (mother.number, father.number)
        if random.random() < self.config.mutation_probability:
            kinds = mutation_kinds(child, self.config, self.primitives)
            if kinds:
                (kind,) = random.choices(list(kinds), list(kinds.values()))
                (child,) = getattr(self.toolbox, f"mutate_{kind}")(child)
                operations.append(kind)
        repair_exponents(child)
        return Proposal("+".join(operations) or "copy", parents, child)


def bare_copy(parent: Individual) -> Individual:
    """Copy a tree and its scope; what was measured belongs to the parent alone."""
    copy = Individual(parent)
    copy.scope = parent.scope
    return copy
