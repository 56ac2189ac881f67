"""What can be known of an expression's value without evaluating it: sign, shape, range."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pruner_zero.metric.expression import Expression
from pruner_zero.metric.operators import OPERATORS


class Extent(NamedTuple):
    """Along which axes of [out, in] a value varies; the others have length 1 and broadcast."""

    rows: bool
    columns: bool


_TERMINAL_EXTENT = {"W": Extent(True, True), "G": Extent(True, True), "X": Extent(False, True)}
_CONSTANT_EXTENT = Extent(False, False)
_WITHIN_ONE = ("mms", "tanh")


@lru_cache(maxsize=65536)
def is_non_negative(tree: Expression) -> bool:
    """Whether the value can never be negative; the terminals W, G and X never are."""
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
        return _TERMINAL_EXTENT.get(tree.label, _CONSTANT_EXTENT)
    parts = [extent(child) for child in tree.children]
    rows = any(part.rows for part in parts)
    columns = any(part.columns for part in parts)
    if tree.label in ("rowsum", "rowmean"):
        return Extent(rows, False)
    if tree.label in ("colsum", "colmean"):
        return Extent(False, columns)
    return Extent(rows, columns)


@lru_cache(maxsize=65536)
def is_within_one(tree: Expression) -> bool:
    """Whether the value is known to lie in [-1, 1], where tanh and exp do not saturate."""
    if tree.label in _WITHIN_ONE:
        return True
    if tree.label in ("neg", "abs", "sqr", "pow", "sqrt", "skp"):
        return is_within_one(tree.children[0])
    return tree.label == "mul" and all(is_within_one(child) for child in tree.children)
