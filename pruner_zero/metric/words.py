"""What a word of the metric language is: operators and terminals, with the facts rules may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

Sign = Literal["non-negative", "as arguments", "any"]
Reduction = Literal["row", "column", "layer"]


class Extent(NamedTuple):
    """Along which axes of [out, in] a value varies; the others have length 1 and broadcast."""

    rows: bool
    columns: bool


@dataclass(frozen=True)
class Operator:
    """One operator of the metric language.

    Attributes:
        name: its label in text and JSON trees.
        arity: number of arguments, 1 or 2.
        function: float32 tensors in, float32 tensor out; shapes broadcast.
        latex: a template with ``{0}`` and ``{1}`` for the arguments.
        sign: what is known of the value's sign: never negative, non-negative when all arguments
            are, or anything.
        even: the value does not depend on the first argument's sign.
        commutative: both argument orders give bit-identical values.
        reduces: what becomes one number: each output row, each input column or the whole tensor.
            The argument is reduced as it is, before it is broadcast to the weight's shape, and
            reduced axes stay with length 1. One number alone gives itself, or its absolute value
            where the operator is even.
        meaning: one line for help texts.
    """

    name: str
    arity: int
    function: Callable[..., Tensor]
    latex: str
    sign: Sign
    meaning: str
    even: bool = False
    commutative: bool = False
    reduces: Reduction | None = None


@dataclass(frozen=True)
class Terminal:
    """One measured or given quantity of a linear layer; none is ever negative.

    Attributes:
        name: its label in text and JSON trees.
        title: what to call it in messages.
        meaning: exactly what it holds.
        latex: its symbol.
        extent: the axes of [out, in] along which it varies.
        of_block: it is one number per decoder block.
    """

    name: str
    title: str
    meaning: str
    latex: str
    extent: Extent
    of_block: bool = False

    def shape(self, out: int, inputs: int) -> tuple[int, int]:
        """Return the shape for a layer's weight of [out, inputs]."""
        return out if self.extent.rows else 1, inputs if self.extent.columns else 1
