"""What keeps a population from becoming one family.

===========  ====================================================================================
``none``     the lowest perplexity breeds and stays
``sharing``  the same, but relatives share their rank: an individual counts as far above the worst
             as its rank says, divided by the number of individuals around it (fitness sharing,
             Goldberg and Richardson 1987, on ranks because perplexities have no scale)
``age``      the lowest perplexity breeds, the oldest leaves, after the failures (ageing evolution,
             Real et al. 2019)
===========  ====================================================================================

The best individual always stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pruner_zero.search.constants import is_number
from pruner_zero.search.individual import Individual

SHARING_RADIUS = 0.5
"""Individuals nearer than this share: with as many words in common as they have apart."""

_NUMBER = "number"


def distance(one: Individual, other: Individual) -> float:
    """How different two individuals are, 0 for the same words and 1 for none in common.

    It is the Jaccard distance of the multisets of their words: operators, terminals, the scope,
    and all numbers as one word.
    """
    return _distance(_words(one), _words(other))


def _words(individual: Individual) -> Counter[str]:
    words = Counter(_NUMBER if is_number(node) else node.name for node in individual)
    words[f"@{individual.scope}"] += 1
    return words


def _distance(one: Counter[str], other: Counter[str]) -> float:
    return 1 - (one & other).total() / (one | other).total()


def standing(members: Sequence[Individual], diversity: str) -> list[Individual]:
    """Return the members in the order in which they may breed, the first one first."""
    ranked = sorted(members, key=_by_perplexity)
    if diversity != "sharing":
        return ranked
    words = [_words(member) for member in ranked]
    merits = {}
    for rank, member in enumerate(ranked):
        distances = (_distance(words[rank], other) for other in words)
        niche = sum(max(0.0, 1 - apart / SHARING_RADIUS) for apart in distances)
        merits[member.number] = (len(ranked) - rank) / niche
    # Sorting is stable: among equals the lower perplexity stays first.
    return sorted(ranked, key=lambda member: -merits[member.number])


def survivors(members: Sequence[Individual], size: int, diversity: str) -> list[Individual]:
    """Return the members that stay in the population, in the order in which they stand.

    Args:
        members: of different numbers.
        size: how many may stay.
        diversity: ``none``, ``sharing`` or ``age``.
    """
    if len(members) <= size:
        return list(members)
    best = min(members, key=_by_perplexity)
    if diversity == "age":
        failed = float("inf")
        order = sorted(members, key=lambda m: (m.perplexity == failed, -m.number))
    else:
        order = standing(members, diversity)
    # By number: equal trees are equal lists to DEAP, even of different scopes.
    order = [best, *(member for member in order if member.number != best.number)]
    staying = {member.number for member in order[:size]}
    return [member for member in members if member.number in staying]


def _by_perplexity(member: Individual) -> tuple[float, int]:
    # Among equally bad ones the newest comes last: it has proved nothing.
    return member.perplexity, member.number
