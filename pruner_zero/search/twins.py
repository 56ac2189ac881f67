"""Twins: individuals of which a population needs one only.

Individuals with the same masks are the same pruned model, however they are written. Individuals of
one family, which differ in nothing but their numbers, are one idea: without this rule the steps of
a local optimiser fill the population and the hall of fame with near copies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from pruner_zero.search.constants import is_number
from pruner_zero.search.individual import Individual

_NUMBER = "number"
Idea: TypeAlias = tuple[str | None, ...] | None
"""Scope and words of a formula with all numbers alike; None for a formula without numbers."""


def same_masks(one: Individual, other: Individual) -> bool:
    """Whether both prune exactly the same weights; failures are like nothing else."""
    return one.digest is not None and one.digest == other.digest


def same_family(one: Individual, other: Individual) -> bool:
    """Whether both are one formula in one scope, with other numbers in it."""
    return _idea(one) == _idea(other) is not None


def are_twins(one: Individual, other: Individual) -> bool:
    """Whether a population needs only one of the two."""
    return same_masks(one, other) or same_family(one, other)


def merit(member: Individual) -> tuple[bool, tuple[float, ...], int, int]:
    """What decides between twins; lower is better.

    The completely evaluated one stays, then the fitter, then that with fewer nodes, then the older.
    """
    return not member.complete, member.fitness.values, len(member), member.number


def without_twins(members: Iterable[Individual]) -> list[Individual]:
    """Keep one individual of all that are twins, in the place of the first."""
    kept: list[tuple[Individual, Idea]] = []
    for member in members:
        idea = _idea(member)  # once per member: every pair is compared
        twins = [
            place
            for place, (other, others) in enumerate(kept)
            if same_masks(other, member) or others == idea is not None
        ]
        if not twins:
            kept.append((member, idea))
        elif all(merit(member) < merit(kept[place][0]) for place in twins):
            kept[twins[0]] = member, idea
            for place in reversed(twins[1:]):
                del kept[place]
    return [member for member, _ in kept]


def _idea(individual: Individual) -> Idea:
    words = tuple(_NUMBER if is_number(node) else node.name for node in individual)
    return (individual.scope, *words) if _NUMBER in words else None
