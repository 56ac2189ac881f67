"""What can be known of an expression's value without evaluating it: sign, shape, range."""

from __future__ import annotations

from functools import lru_cache

from pruner_zero.metric.expression import Expression
from pruner_zero.metric.operators import OPERATORS
from pruner_zero.metric.terminals import TERMINALS
from pruner_zero.metric.words import Extent

_WITHIN_ONE = ("mms", "tanh", "D")
_STAYS_WITHIN_ONE = ("neg", "abs", "sqr", "pow", "sqrt", "skp", "rowmean", "rowrms", "rowmax",
                     "colmean", "colrms", "colmax", "layermean", "layerrms")  # fmt: skip


_POINTWISE = frozenset({"add", "sub", "mul", "ratio", "sqr", "pow", "neg", "abs", "log", "exp",
                        "sqrt", "tanh", "skp", "min", "max", "power"})  # fmt: skip


def is_pointwise(tree: Expression) -> bool:
    """Whether the root's value at a weight needs its arguments at that weight alone.

    A terminal or constant does; of a user's own operators it is not known, which counts as no.
    """
    return not tree.children or tree.label in _POINTWISE


@lru_cache(maxsize=65536)
def is_non_negative(tree: Expression) -> bool:
    """Whether the value can never be negative; the terminals never are."""
    operator = OPERATORS.get(tree.label)
    if operator is None:
        return not tree.label.startswith("-")
    if operator.sign == "as arguments":
        # Division by a norm has the sign of what is divided.
        arguments = tree.children[:1] if tree.label == "div" else tree.children
        return all(is_non_negative(child) for child in arguments)
    return operator.sign == "non-negative"


@lru_cache(maxsize=65536)
def extent(tree: Expression) -> Extent:
    """The axes along which the value varies, before it is broadcast to the weight's shape."""
    if not tree.children:
        terminal = TERMINALS.get(tree.label)
        return terminal.extent if terminal else Extent(False, False)
    parts = [extent(child) for child in tree.children]
    reduces = OPERATORS[tree.label].reduces
    rows = any(part.rows for part in parts) and reduces not in ("column", "layer")
    columns = any(part.columns for part in parts) and reduces not in ("row", "layer")
    return Extent(rows, columns)


@lru_cache(maxsize=65536)
def is_within_one(tree: Expression) -> bool:
    """Whether the value is known to lie in [-1, 1], where tanh and exp do not saturate."""
    if tree.label in _WITHIN_ONE:
        return True
    if tree.label in _STAYS_WITHIN_ONE:
        return is_within_one(tree.children[0])
    return tree.label == "mul" and all(is_within_one(child) for child in tree.children)
