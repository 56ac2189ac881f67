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

from pruner_zero.search.algorithms.evolution import Evolution


class SteadyState(Evolution):
    """One offspring at a time joins the population at once, and one individual leaves."""
