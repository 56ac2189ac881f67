"""Search algorithms with one ask-and-tell interface.

``ask`` makes the next candidate and ``tell`` takes its result; whoever drives the search decides
when and where evaluation happens. All randomness comes from one generator that belongs to the
search, so the same seed and the same results give the same search. One file per algorithm:

==================  ========================================================================
``steady_state``    the paper: one offspring at a time, the worst leaves
``mu_plus_lambda``  generations: the best of parents and offspring stay
``nsga2``           generations: a front of perplexity and size
``random_search``   the baseline: random trees only
==================  ========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable

from pruner_zero.metric import Operator
from pruner_zero.search.algorithms.base import SearchAlgorithm, Simplify
from pruner_zero.search.algorithms.mu_plus_lambda import MuPlusLambda
from pruner_zero.search.algorithms.nsga2 import NSGA2
from pruner_zero.search.algorithms.random_search import RandomSearch
from pruner_zero.search.algorithms.steady_state import SteadyState
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.primitives import primitive_set

__all__ = ["SearchAlgorithm", "make_algorithm"]

_KINDS: dict[str, type[SearchAlgorithm]] = {
    "steady_state": SteadyState,
    "mu_plus_lambda": MuPlusLambda,
    "nsga2": NSGA2,
    "random": RandomSearch,
}


def make_algorithm(
    config: SearchConfig,
    seed: int,
    simplify: Simplify,
    operators: Iterable[Operator] | str = "paper",
    terminals: str = "paper",
) -> SearchAlgorithm:
    """Return the algorithm that ``config.algorithm`` names.

    Args:
        config: sizes, probabilities and limits.
        seed: of all random choices; every integer is a seed, 0 too.
        simplify: from a metric and its scope (None for the run's own) to the metric that is
            evaluated.
        operators: what trees are made of, or the name of an operator set.
        terminals: name of the terminal set.

    Raises:
        UserError: when the configuration is impossible.
    """
    config.check()
    primitives = primitive_set(operators, terminals, config.constants)
    return _KINDS[config.algorithm](config, seed, simplify, primitives)
