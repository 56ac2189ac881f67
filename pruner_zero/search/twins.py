"""Twins: individuals with the same masks are the same pruned model, however they are written."""

from __future__ import annotations

from collections.abc import Iterable

from pruner_zero.search.individual import Individual


def same_masks(one: Individual, other: Individual) -> bool:
    """Whether both prune exactly the same weights; failures are like nothing else."""
    return one.digest is not None and one.digest == other.digest


def without_twins(members: Iterable[Individual]) -> list[Individual]:
    """Keep one individual of every set of masks, in the place of the first.

    Of twins the completely evaluated one stays, then the one with fewer nodes, then the older.
    """
    kept: list[Individual] = []
    for member in members:
        place = next((i for i, other in enumerate(kept) if same_masks(other, member)), None)
        if place is None:
            kept.append(member)
        elif _merit(member) < _merit(kept[place]):
            kept[place] = member
    return kept


def _merit(member: Individual) -> tuple[bool, int, int]:
    return not member.complete, len(member), member.number
