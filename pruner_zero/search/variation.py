"""Birth and change of trees, by DEAP's operators in a DEAP toolbox."""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import deepcopy

from deap import base, gp

from pruner_zero.metric import Metric
from pruner_zero.search.config import VariationConfig
from pruner_zero.search.individual import Individual
from pruner_zero.search.primitives import metric_to_nodes, tree_to_metric


def variation_toolbox(
    primitives: gp.PrimitiveSet,
    config: VariationConfig,
    simplify: Callable[[Metric], Metric],
) -> base.Toolbox:
    """Register ``individual``, ``mate``, ``mutate`` and ``simplify`` in a DEAP toolbox.

    All of them draw from the ``random`` module, as DEAP does: call them inside
    `drawing_from`. Depth and size limits are DEAP's ``staticLimit`` decorators: offspring beyond
    a limit are replaced by a parent.

    Args:
        primitives: the primitive set.
        config: depths, limits; the probabilities belong to the algorithm.
        simplify: applied before every evaluation and written back to the individual.
    """
    toolbox = base.Toolbox()
    toolbox.register("clone", deepcopy)
    toolbox.register(
        "nodes",
        gp.genHalfAndHalf,
        pset=primitives,
        min_=config.min_depth,
        max_=config.max_depth,
    )
    toolbox.register("individual", lambda: Individual(toolbox.nodes()))
    toolbox.register("mate", gp.cxOnePoint)
    toolbox.register("mutate", gp.mutNodeReplacement, pset=primitives)

    def simplified(individual: Individual) -> tuple[Individual, Metric]:
        metric = simplify(tree_to_metric(individual))
        return Individual(metric_to_nodes(metric, primitives)), metric

    toolbox.register("simplify", simplified)
    for limit, key in (
        (config.depth_limit, operator.attrgetter("height")),
        (config.size_limit, len),
    ):
        toolbox.decorate("mate", gp.staticLimit(key=key, max_value=limit))
        toolbox.decorate("mutate", gp.staticLimit(key=key, max_value=limit))
    return toolbox
