"""Candidates in flight: asked for, not told yet.

Candidate n is asked for as soon as candidate n - depth is told, and results are told in the order
of the candidates, whatever order they come in. So what a candidate is made from, and whom it races
against, depends on the seed and the depth alone: neither on the number of workers nor on their
speed. A depth of 1 is the serial search.

The price: a slow candidate at the head holds up the asking once ``depth`` are in flight, so with
as many in flight as there are workers those that are done idle. A greater depth keeps them busy
and makes candidates from a slightly older population.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deap import gp

from pruner_zero.metric import Metric
from pruner_zero.search.individual import Candidate
from pruner_zero.search.members import from_pending, to_pending
from pruner_zero.search.racing import Rival


@dataclass(frozen=True)
class Flying:
    """A candidate in flight, with the rival that it got when it was asked for."""

    candidate: Candidate
    rival: Rival | None

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON values, for checkpoints."""
        rival = self.rival
        return {
            **to_pending(self.candidate),
            "rival": rival and {"losses": list(rival.losses), "holds_place": rival.holds_place},
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], primitives: gp.PrimitiveSet) -> Flying:
        """Return what `record` wrote.

        Args:
            record: plain JSON values.
            primitives: of the search's trees.
        """
        candidate, rival = from_pending(record, primitives), record["rival"]
        # Only complete evaluations are rivals, and those have finite losses.
        return cls(candidate, rival and Rival(tuple(rival["losses"]), rival["holds_place"]))


class Flight:
    """The candidates in flight, in their order.

    Args:
        depth: most of them, from 1.
    """

    def __init__(self, depth: int = 1) -> None:
        """Start with none."""
        self.depth = depth
        self._flying: deque[Flying] = deque()

    def __len__(self) -> int:
        return len(self._flying)

    def __iter__(self) -> Iterator[Flying]:
        return iter(self._flying)

    @property
    def full(self) -> bool:
        """Whether no further candidate may be asked for."""
        return len(self) >= self.depth

    def add(self, flying: Flying) -> None:
        """Take a candidate that was asked for."""
        self._flying.append(flying)

    def head(self) -> Flying:
        """The candidate whose turn it is."""
        return self._flying[0]

    def land(self) -> None:
        """Drop the head, which was told."""
        self._flying.popleft()

    def holds(self, metric: Metric, scope: str | None) -> bool:
        """Whether this metric is in flight with this scope."""
        return any(flying.candidate.key == (metric, scope) for flying in self)

    def state(self) -> list[dict[str, Any]]:
        """Return all as plain JSON values."""
        return [flying.record() for flying in self]

    def restore(self, state: list[dict[str, Any]], primitives: gp.PrimitiveSet) -> None:
        """Go back to a state."""
        self._flying = deque(Flying.from_record(record, primitives) for record in state)
