"""Evaluation of an expression on tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from pruner_zero.metric.expression import Expression
from pruner_zero.metric.operators import OPERATORS


def evaluate(
    tree: Expression,
    terminals: Mapping[str, Tensor],
    known: Mapping[Expression, Tensor] = MappingProxyType({}),
) -> Tensor:
    """Evaluate bottom-up; equal subtrees are computed once and freed after their last use.

    Args:
        tree: the expression.
        terminals: a tensor for every terminal in it, all of one floating dtype and device.
        known: subtrees whose values are at hand.

    Returns:
        The value, of the smallest shape that its terminals broadcast to.
    """
    uses: Counter[Expression] = Counter()
    counted: set[Expression] = set()

    def count(node: Expression) -> None:
        uses[node] += 1
        if node not in counted and node not in known:
            counted.add(node)
            for child in node.children:
                count(child)

    count(tree)
    return _value(tree, terminals, known, uses, {})


# Not a closure inside `evaluate`: one that calls itself is a cycle and would hold the tensors until
# the garbage collector comes.
def _value(
    node: Expression,
    terminals: Mapping[str, Tensor],
    known: Mapping[Expression, Tensor],
    uses: Counter[Expression],
    values: dict[Expression, Tensor],
) -> Tensor:
    if node in known:
        return known[node]
    if node not in values:
        if node.label in terminals:
            return terminals[node.label]
        if node.is_constant:
            reference = next(iter(terminals.values()))
            # Filled on the device: a value copied there would wait for all that runs on it.
            return torch.full((), float(node.label), dtype=reference.dtype, device=reference.device)
        arguments = [_value(child, terminals, known, uses, values) for child in node.children]
        result: Tensor = OPERATORS[node.label].function(*arguments)
        if uses[node] == 1:
            return result
        values[node] = result
    uses[node] -= 1
    return values[node] if uses[node] else values.pop(node)
