"""Random search: the baseline that evolution has to beat."""

from __future__ import annotations

from pruner_zero.search.algorithms.base import SearchAlgorithm
from pruner_zero.search.breeder import Proposal


class RandomSearch(SearchAlgorithm):
    """Random trees only, with the same initialisation and simplification as evolution."""

    def propose(self) -> Proposal:
        """A random tree."""
        return self.breeder.newborn()
