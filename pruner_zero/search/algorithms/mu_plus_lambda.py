"""The (mu + lambda) evolution strategy.

In pseudocode::

    population = mu known metrics or random trees
    while the budget lasts:
        offspring = lambda children of parents chosen as in the steady state
        population = the best mu of population and offspring
"""

from __future__ import annotations

from pruner_zero.search.algorithms.generational import Generational
from pruner_zero.search.diversity import survivors
from pruner_zero.search.individual import Individual


class MuPlusLambda(Generational):
    """mu is ``population_size``, lambda is ``offspring_size``."""

    def select(self, members: list[Individual]) -> list[Individual]:
        """Choose the best, or what ``search.diversity`` asks for."""
        return survivors(members, self.config.population_size, self.config.diversity)
