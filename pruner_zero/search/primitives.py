"""The seam between DEAP trees and metrics: primitive sets, and conversion both ways.

DEAP works on ``PrimitiveTree`` lists; everything else in this project works on immutable
expressions. This is the only place where one becomes the other.
"""

from __future__ import annotations

from collections.abc import Iterable

from deap import gp

from pruner_zero.errors import UserError
from pruner_zero.metric import Expression, Metric, operator_set, terminal_set
from pruner_zero.metric.expression import canonical_number
from pruner_zero.metric.words import Operator


def primitive_set(
    operators: Iterable[Operator] | str = "paper",
    terminals: str = "paper",
    constants: Iterable[float] = (),
) -> gp.PrimitiveSet:
    """Build DEAP's primitive set: terminals as arguments, one primitive per operator, constants.

    Args:
        operators: operators, or the name of an operator set.
        terminals: the name of a terminal set.
        constants: numbers that trees may hold beside the terminals, each as likely as a terminal;
            ``power`` needs some.

    Raises:
        UserError: an unknown set, or a constant that is not a finite number below 1e30.
    """
    chosen = operator_set(operators) if isinstance(operators, str) else tuple(operators)
    names = [terminal.name for terminal in terminal_set(terminals)]
    primitives = gp.PrimitiveSet("METRIC", len(names))
    primitives.renameArguments(**{f"ARG{i}": name for i, name in enumerate(names)})
    for operator in chosen:
        primitives.addPrimitive(operator.function, operator.arity, operator.name)
    for constant in constants:
        number = canonical_number(repr(float(constant)))
        if number is None:
            raise UserError(f"constant {constant} is not a finite number below 1e30")
        primitives.addTerminal(float(number), number)
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

    Simplification may bring in an operator that the set lacks (``abs`` for a root of a square),
    and a given metric any terminal or number; each gets a node of its own, and mutation still
    draws from the set alone.
    """
    nodes = []
    for node in metric.expression.nodes():
        own = (
            gp.Primitive(node.label, [primitives.ret] * len(node.children), primitives.ret)
            if node.children
            else gp.Terminal(node.label, True, primitives.ret)
        )
        nodes.append(primitives.mapping.get(node.label, own))
    return nodes
