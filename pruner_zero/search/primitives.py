"""The seam between DEAP trees and metrics: primitive sets, and conversion both ways.

DEAP works on ``PrimitiveTree`` lists; everything else in this project works on immutable
expressions. This is the only place where one becomes the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from deap import gp

from pruner_zero.metric import TERMINALS, Expression, Metric, operator_set
from pruner_zero.metric.operators import Operator


def primitive_set(operators: Iterable[Operator] | str = "paper") -> gp.PrimitiveSet:
    """Build DEAP's primitive set: the arguments W, G and X and one primitive per operator.

    Args:
        operators: operators, or the name of an operator set.
    """
    chosen = operator_set(operators) if isinstance(operators, str) else tuple(operators)
    primitives = gp.PrimitiveSet("METRIC", len(TERMINALS))
    primitives.renameArguments(**{f"ARG{i}": name for i, name in enumerate(TERMINALS)})
    for operator in chosen:
        primitives.addPrimitive(operator.function, operator.arity, operator.name)
    return primitives


def tree_to_metric(tree: gp.PrimitiveTree) -> Metric:
    """Return the metric of a DEAP tree."""
    stack: list[Expression] = []
    for node in reversed(tree):
        if isinstance(node, gp.Primitive):
            children = tuple(stack.pop() for _ in range(node.arity))
            stack.append(Expression(node.name, children))
        else:
            # An argument's name stays ARGn for ever; its value is what it was renamed to.
            stack.append(Expression(str(node.value)))
    return Metric(stack.pop())


def metric_to_nodes(metric: Metric, primitives: gp.PrimitiveSet) -> list[gp.Primitive]:
    """Return the DEAP nodes of a metric, in prefix order, for a tree of this primitive set.

    Simplification may bring in an operator that the set lacks (``abs`` for a root of a square);
    it gets a node of its own, and mutation still draws from the set alone.
    """
    nodes = []
    for node in metric.expression.nodes():
        if node.is_constant:
            nodes.append(gp.Terminal(node.label, False, primitives.ret))
        else:
            own = gp.Primitive(node.label, [primitives.ret] * len(node.children), primitives.ret)
            nodes.append(primitives.mapping.get(node.label, own))
    return nodes
