"""Expressions: immutable trees of operators, terminals and constants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pruner_zero.metric.operators import OPERATORS
from pruner_zero.metric.terminals import TERMINALS

MAX_DEPTH = 64
"""Deepest tree that text, JSON or a search may build; keeps recursion far from Python's limit."""
MAX_NODES = 1024
"""Largest tree that text or JSON may hold."""

# One spelling per number, so that text and JSON round-trip to the same expression.
_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$")


def canonical_number(text: str) -> str | None:
    """Return the canonical spelling of a decimal constant, or None when it is not a finite one."""
    if not _NUMBER.match(text):
        return None
    value = float(text)
    return repr(value) if abs(value) < 1e30 else None


@dataclass(frozen=True, slots=True)
class Expression:
    """One node with its children; equality and hash are by structure.

    Attributes:
        label: an operator's name, a terminal's name, or a constant's canonical spelling.
        children: as many as the operator's arity; none for terminals and constants.
    """

    label: str
    children: tuple[Expression, ...] = ()
    size: int = field(init=False, compare=False, repr=False)
    depth: int = field(init=False, compare=False, repr=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the label and arity; cache size, depth and hash, which everything asks for."""
        operator = OPERATORS.get(self.label)
        arity = operator.arity if operator else 0
        known = operator or self.label in TERMINALS or canonical_number(self.label) == self.label
        if not known:
            raise ValueError(f"unknown label '{self.label}'")
        if len(self.children) != arity:
            raise ValueError(f"'{self.label}' takes {arity} arguments, got {len(self.children)}")
        object.__setattr__(self, "size", 1 + sum(child.size for child in self.children))
        deepest = max((child.depth for child in self.children), default=-1)
        object.__setattr__(self, "depth", 1 + deepest)
        object.__setattr__(self, "_hash", hash((self.label, self.children)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def is_constant(self) -> bool:
        """Whether this node is a number."""
        return self.label not in OPERATORS and self.label not in TERMINALS

    def nodes(self) -> Iterator[Expression]:
        """Yield every node, parents before children, left before right (prefix order)."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def __str__(self) -> str:
        if not self.children:
            return self.label
        return f"{self.label}({', '.join(str(child) for child in self.children)})"


W = Expression("W")
G = Expression("G")
X = Expression("X")


def apply(label: str, *children: Expression) -> Expression:
    """Return the expression of an operator applied to its arguments."""
    return Expression(label, children)
