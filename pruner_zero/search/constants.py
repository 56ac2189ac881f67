"""Numbers in trees: the exponents of ``power``, and the steps that move a number.

Every number has a canonical short spelling (four significant digits), so that a formula's text
reads back to the same formula. The second argument of ``power`` is always a number: a random
exponent takes the place of whatever birth or variation put there.
"""

from __future__ import annotations

import math
import random

from deap import gp

from pruner_zero.metric.expression import canonical_number

POWER = "power"
EXPONENTS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1.5, 2.0, 3.0, -0.5, -1.0)
_LEAST, _GREATEST = 1e-6, 1e6
_GREATEST_EXPONENT = 4.0


def number(value: float, ret: type) -> gp.Terminal:
    """Return a number as a DEAP terminal, rounded to four significant digits.

    Args:
        value: a finite number.
        ret: DEAP's type of the place where it goes.
    """
    return gp.Terminal(float(f"{value:.4g}"), False, ret)


def is_number(node: gp.Primitive | gp.Terminal) -> bool:
    """Whether a node of a DEAP tree is a number."""
    return isinstance(node, gp.Terminal) and canonical_number(str(node.value)) is not None


def number_places(tree: gp.PrimitiveTree) -> list[int]:
    """Return the indices of all numbers of a tree."""
    return [place for place, node in enumerate(tree) if is_number(node)]


def move_number(tree: gp.PrimitiveTree, place: int, step: float) -> None:
    """Let one number take a log-normal step: its sign stays, its size changes by a factor.

    Args:
        tree: changed in place.
        place: index of a number.
        step: standard deviation of the factor's logarithm.
    """
    value = float(tree[place].value)
    is_exponent = any(_exponent(tree, i) == slice(place, place + 1) for i in range(place))
    greatest = _GREATEST_EXPONENT if is_exponent else _GREATEST
    size = abs(value) * math.exp(random.gauss(0.0, step))
    size = min(max(size, _LEAST), greatest)
    tree[place] = number(math.copysign(size, value), tree[place].ret)


def repair_exponents(tree: gp.PrimitiveTree) -> None:
    """Put a random exponent wherever the second argument of ``power`` is no number."""
    place = 0
    while place < len(tree):  # what is put in shortens the tree behind this place
        exponent = _exponent(tree, place)
        if exponent and not is_number(tree[exponent.start]):
            tree[exponent] = [number(random.choice(EXPONENTS), tree[exponent.start].ret)]
        place += 1


def _exponent(tree: gp.PrimitiveTree, place: int) -> slice | None:
    """The second argument of the node at a place, None when the node is no ``power``."""
    node = tree[place]
    if not isinstance(node, gp.Primitive) or node.name != POWER:
        return None
    argument: slice = tree.searchSubtree(tree.searchSubtree(place + 1).stop)
    return argument
