"""A primitive set with ``power`` and numbers, and how its trees are read."""

from __future__ import annotations

from deap import gp

from pruner_zero.metric import OPERATORS, operator_set
from pruner_zero.search.constants import is_number
from pruner_zero.search.individual import Individual
from pruner_zero.search.primitives import primitive_set


def powers() -> gp.PrimitiveSet:
    return primitive_set([*operator_set("paper"), OPERATORS["power"]], constants=[0.5, 2.0])


def born(primitives: gp.PrimitiveSet, depth: int = 4) -> Individual:
    """A random tree as DEAP makes it; draws from the random module."""
    return Individual(gp.genHalfAndHalf(primitives, 0, depth))


def written(*words, primitives: gp.PrimitiveSet) -> Individual:
    """A tree from its words in prefix order; floats are numbers."""
    leaf = primitives.mapping["W"]
    return Individual(
        gp.Terminal(word, False, leaf.ret) if isinstance(word, float) else primitives.mapping[word]
        for word in words
    )


def words(tree: gp.PrimitiveTree) -> list[str]:
    return [str(node.value) if isinstance(node, gp.Terminal) else node.name for node in tree]


def is_complete(tree: gp.PrimitiveTree) -> bool:
    """Whether the nodes form exactly one tree."""
    return tree.searchSubtree(0) == slice(0, len(tree))


def exponents_are_numbers(tree: gp.PrimitiveTree) -> bool:
    places = [place for place, node in enumerate(tree) if node.name == "power"]
    return all(
        is_number(tree[tree.searchSubtree(tree.searchSubtree(place + 1).stop).start])
        for place in places
    )
