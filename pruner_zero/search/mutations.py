"""The kinds of mutation that DEAP lacks or has in another form.

All draw from the ``random`` module, change the individual in place and return it in a tuple, as
DEAP's own operators do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from deap import gp

from pruner_zero.search.constants import POWER, is_number, move_number, number, number_places
from pruner_zero.search.individual import Individual

CONSTANT_STEP = 0.5


def mutate_node(individual: Individual, primitives: gp.PrimitiveSet) -> tuple[Individual]:
    """Replace a node by another one of the same arity.

    DEAP's ``mutNodeReplacement`` never touches the root and may choose the same node again.
    """
    place = random.randrange(len(individual))
    node = individual[place]
    if node.arity:
        others = [
            other
            for other in primitives.primitives[node.ret]
            if other.arity == node.arity and other.name != node.name
        ]
    else:
        others = [
            other for other in primitives.terminals[node.ret] if _label(other) != _label(node)
        ]
    if others:
        individual[place] = random.choice(others)
    return (individual,)


def mutate_hoist(individual: Individual) -> tuple[Individual]:
    """Make one of the subtrees the whole tree: one with an operator where there is such a one."""
    places = range(1, len(individual))
    inner = [place for place in places if individual[place].arity]
    if places:
        chosen = individual[individual.searchSubtree(random.choice(inner or places))]
        # Not ``[:]``: DEAP's trees take slices with a start alone.
        individual[individual.searchSubtree(0)] = chosen
    return (individual,)


def mutate_constant(individual: Individual) -> tuple[Individual]:
    """Let one of the numbers take a step."""
    places = number_places(individual)
    if places:
        move_number(individual, random.choice(places), CONSTANT_STEP)
    return (individual,)


def mutate_power(individual: Individual, primitives: gp.PrimitiveSet) -> tuple[Individual]:
    """Raise a subtree to a random power around 1, which constant mutation and tuning can move."""
    places = [
        place for place, node in enumerate(individual) if not is_number(node) and node.name != POWER
    ]
    if places:
        subtree = individual.searchSubtree(random.choice(places))
        exponent = number(math.exp(random.gauss(0.0, CONSTANT_STEP)), primitives.ret)
        individual[subtree] = [primitives.mapping[POWER], *individual[subtree], exponent]
    return (individual,)


def mutate_scope(individual: Individual, scopes: Sequence[str]) -> tuple[Individual]:
    """Let other scores compete."""
    others = [scope for scope in scopes if scope != individual.scope]
    if others:
        individual.scope = random.choice(others)
    return (individual,)


def _label(leaf: gp.Primitive | gp.Terminal) -> str:
    """A leaf's word; one that the primitive set lacks is a primitive without arguments."""
    return str(leaf.value) if isinstance(leaf, gp.Terminal) else str(leaf.name)
