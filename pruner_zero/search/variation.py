"""Birth and change of trees, by operators in a DEAP toolbox."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType

from deap import base, gp

from pruner_zero.search.config import SearchConfig
from pruner_zero.search.constants import POWER, number_places
from pruner_zero.search.individual import Individual
from pruner_zero.search.mutations import (
    mutate_constant,
    mutate_hoist,
    mutate_node,
    mutate_power,
    mutate_scope,
)

_GENERATORS = {"grow": gp.genGrow, "full": gp.genFull, "half_and_half": gp.genHalfAndHalf}
_FRESH_DEPTH = 2

# What a kind of mutation needs in order to change anything; the others always can.
_NEEDS: Mapping[str, Callable[[Individual, SearchConfig], bool]] = MappingProxyType(
    {
        "hoist": lambda individual, config: len(individual) > 1,
        "shrink": lambda individual, config: any(node.arity for node in individual[1:]),
        "constant": lambda individual, config: bool(number_places(individual)),
        "scope": lambda individual, config: any(s != individual.scope for s in config.scopes),
    }
)


def variation_toolbox(primitives: gp.PrimitiveSet, config: SearchConfig) -> base.Toolbox:
    """Register ``nodes``, ``mate`` and one ``mutate_…`` per kind of mutation in a DEAP toolbox.

    All of them draw from the ``random`` module, as DEAP does: call them inside `drawing_from`.
    Depth and size limits are DEAP's ``staticLimit`` decorators: offspring beyond a limit are
    replaced by a parent.

    Args:
        primitives: the primitive set.
        config: depths, limits, scopes; probabilities and weights belong to the breeder.
    """
    variation = config.variation
    toolbox = base.Toolbox()
    toolbox.register(
        "nodes",
        _GENERATORS[config.init],
        pset=primitives,
        min_=variation.min_depth,
        max_=variation.max_depth,
    )
    toolbox.register("fresh", gp.genGrow, min_=0, max_=min(_FRESH_DEPTH, variation.max_depth))
    toolbox.register("mate", gp.cxOnePoint)
    toolbox.register("mutate_node", mutate_node, primitives=primitives)
    toolbox.register("mutate_subtree", gp.mutUniform, expr=toolbox.fresh, pset=primitives)
    toolbox.register("mutate_hoist", mutate_hoist)
    toolbox.register("mutate_shrink", gp.mutShrink)
    toolbox.register("mutate_insert", gp.mutInsert, pset=primitives)
    toolbox.register("mutate_constant", mutate_constant)
    toolbox.register("mutate_power", mutate_power, primitives=primitives)
    toolbox.register("mutate_scope", mutate_scope, scopes=tuple(config.scopes))
    for alias in ("mate", "mutate_subtree", "mutate_insert", "mutate_power"):
        for limit, key in (
            (variation.depth_limit, operator.attrgetter("height")),
            (variation.size_limit, len),
        ):
            toolbox.decorate(alias, gp.staticLimit(key=key, max_value=limit))
    return toolbox


def mutation_kinds(
    individual: Individual, config: SearchConfig, primitives: gp.PrimitiveSet
) -> dict[str, float]:
    """Return the weights of the mutations that can change this individual, none that is 0."""
    return {
        kind: weight
        for kind, weight in asdict(config.variation.mutation_weights).items()
        if weight > 0
        and (kind not in _NEEDS or _NEEDS[kind](individual, config))
        and (kind != POWER or POWER in primitives.mapping)
    }
