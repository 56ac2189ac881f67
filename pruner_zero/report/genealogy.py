"""Where a metric comes from, back to random trees and known metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pruner_zero.report.evaluation import Evaluation


@dataclass(frozen=True)
class Genealogy:
    """A metric with all its ancestors.

    Attributes:
        members: in the order of their birth; the metric itself is the last.
        edges: (parent, child) pairs of candidate numbers.
        unknown: parents that the log does not hold.
    """

    members: tuple[Evaluation, ...]
    edges: tuple[tuple[int, int], ...]
    unknown: tuple[int, ...]

    @property
    def founders(self) -> list[Evaluation]:
        """The members without parents: random trees and known metrics."""
        return [member for member in self.members if not member.parents]

    @property
    def depth(self) -> int:
        """Most steps from a founder to the metric."""
        depth: dict[int, int] = {}
        for member in self.members:
            known = [depth[parent] for parent in member.parents if parent in depth]
            depth[member.number] = 1 + max(known) if known else 0
        return depth[self.members[-1].number] if self.members else 0


def genealogy(evaluations: Sequence[Evaluation], number: int) -> Genealogy:
    """Return the ancestors of a candidate.

    Args:
        evaluations: the log.
        number: of the candidate.

    Raises:
        KeyError: the log does not hold it.
    """
    by_number = {evaluation.number: evaluation for evaluation in evaluations}
    members = {number: by_number[number]}
    edges: list[tuple[int, int]] = []
    unknown: set[int] = set()
    waiting = [number]
    while waiting:
        child = waiting.pop()
        for parent in dict.fromkeys(by_number[child].parents):
            if parent not in by_number:
                unknown.add(parent)
                continue
            edges.append((parent, child))
            if parent not in members:
                members[parent] = by_number[parent]
                waiting.append(parent)
    ordered = tuple(members[key] for key in sorted(members))
    return Genealogy(ordered, tuple(sorted(edges)), tuple(sorted(unknown)))
