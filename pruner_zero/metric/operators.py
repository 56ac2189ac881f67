"""The operator table: every word of the metric language with the facts that rules may use.

The ``paper`` set has the 15 operators of Pruner-Zero (arXiv:2406.02924) with the semantics of its
public code: ``div`` divides by the Frobenius *norm* of its second argument, ``sqr`` and ``pow`` are
both the square, ``log``, ``exp`` and ``sqrt`` are protected. The ``extended`` set adds what
structured metrics such as RIA need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from pruner_zero.errors import UserError, suggest

TERMINALS: Mapping[str, str] = MappingProxyType(
    {
        "W": "absolute weight, [out, in]",
        "G": "gradient magnitude over the calibration sequences, [out, in]",
        "X": "mean squared L2 norm of each input feature, [1, in]",
    }
)

Sign = Literal["non-negative", "as arguments", "any"]


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
        even: the value does not depend on the argument's sign.
        commutative: both argument orders give bit-identical values.
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


def _div_by_norm(x: Tensor, y: Tensor) -> Tensor:
    x, y = torch.broadcast_tensors(x, y)
    return x / torch.linalg.vector_norm(y)


def _min_max(x: Tensor) -> Tensor:
    low, high = torch.aminmax(x)
    return (x - low) / (high - low)


def _z_score(x: Tensor) -> Tensor:
    return (x - x.mean()) / x.std()


def _protected_ratio(x: Tensor, y: Tensor) -> Tensor:
    # Signs are kept; only a vanishing denominator is replaced, so ratios stay finite.
    tiny = torch.finfo(y.dtype).tiny ** 0.5
    safe = torch.where(y.abs() < tiny, torch.full_like(y, tiny), y)
    return x / safe


_PAPER = (
    Operator("add", 2, torch.add, "{0} + {1}", "as arguments", "sum", commutative=True),
    Operator("sub", 2, torch.sub, "{0} - {1}", "any", "difference"),
    Operator("mul", 2, torch.mul, "{0} \\cdot {1}", "as arguments", "product", commutative=True),
    Operator(
        "div",
        2,
        _div_by_norm,
        "\\frac{{{0}}}{{\\left\\|{1}\\right\\|_F}}",
        "as arguments",
        "first argument over the Frobenius norm of the second",
    ),
    Operator("sqr", 1, torch.square, "{0}^2", "non-negative", "square", even=True),
    Operator("pow", 1, torch.square, "{0}^2", "non-negative", "square (same as sqr)", even=True),
    Operator("neg", 1, torch.neg, "-{0}", "any", "negation"),
    Operator(
        "abs",
        1,
        torch.abs,
        "\\left|{0}\\right|",
        "non-negative",
        "absolute value",
        even=True,
    ),
    Operator(
        "log",
        1,
        lambda x: torch.log(x.abs() + 0.001),
        "\\log\\left(\\left|{0}\\right| + 0.001\\right)",
        "any",
        "log(|x| + 0.001)",
        even=True,
    ),
    Operator(
        "exp",
        1,
        lambda x: torch.exp(x.clamp(max=100)),
        "\\exp\\left(\\min({0}, 100)\\right)",
        "non-negative",
        "exp(min(x, 100))",
    ),
    Operator(
        "sqrt",
        1,
        lambda x: torch.sqrt(x.abs()),
        "\\sqrt{{\\left|{0}\\right|}}",
        "non-negative",
        "sqrt(|x|)",
        even=True,
    ),
    Operator(
        "tanh",
        1,
        torch.tanh,
        "\\tanh\\left({0}\\right)",
        "as arguments",
        "hyperbolic tangent",
    ),
    Operator("skp", 1, lambda x: x, "{0}", "as arguments", "identity"),
    Operator(
        "mms",
        1,
        _min_max,
        "\\mathrm{{minmax}}\\left({0}\\right)",
        "non-negative",
        "min-max scaling over the whole tensor to [0, 1]",
    ),
    Operator(
        "zsn",
        1,
        _z_score,
        "\\mathrm{{zscore}}\\left({0}\\right)",
        "any",
        "z-score over the whole tensor (unbiased standard deviation)",
    ),
)

_STRUCTURE = (
    Operator(
        "ratio",
        2,
        _protected_ratio,
        "\\frac{{{0}}}{{{1}}}",
        "as arguments",
        "elementwise division, protected against a vanishing denominator",
    ),
    Operator(
        "rowsum",
        1,
        lambda x: x.sum(dim=-1, keepdim=True),
        "\\textstyle\\sum_{{\\mathrm{{row}}}} {0}",
        "as arguments",
        "sum over the inputs of each output row, [out, 1]",
    ),
    Operator(
        "colsum",
        1,
        lambda x: x.sum(dim=0, keepdim=True),
        "\\textstyle\\sum_{{\\mathrm{{col}}}} {0}",
        "as arguments",
        "sum over the outputs of each input column, [1, in]",
    ),
    Operator(
        "rowmean",
        1,
        lambda x: x.mean(dim=-1, keepdim=True),
        "\\mathrm{{mean}}_{{\\mathrm{{row}}}}\\left({0}\\right)",
        "as arguments",
        "mean over the inputs of each output row, [out, 1]",
    ),
    Operator(
        "colmean",
        1,
        lambda x: x.mean(dim=0, keepdim=True),
        "\\mathrm{{mean}}_{{\\mathrm{{col}}}}\\left({0}\\right)",
        "as arguments",
        "mean over the outputs of each input column, [1, in]",
    ),
    Operator(
        "min",
        2,
        torch.minimum,
        "\\min\\left({0}, {1}\\right)",
        "as arguments",
        "elementwise minimum",
        commutative=True,
    ),
    Operator(
        "max",
        2,
        torch.maximum,
        "\\max\\left({0}, {1}\\right)",
        "as arguments",
        "elementwise maximum",
        commutative=True,
    ),
)

OPERATORS: Mapping[str, Operator] = MappingProxyType({op.name: op for op in _PAPER + _STRUCTURE})
OPERATOR_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "paper": tuple(op.name for op in _PAPER),
        "extended": tuple(op.name for op in _PAPER + _STRUCTURE),
    }
)


def operator_set(name: str) -> tuple[Operator, ...]:
    """Return the operators of a named set, in the table's order.

    Args:
        name: ``paper`` (the 15 of the public code) or ``extended``.

    Raises:
        UserError: when no set has this name.
    """
    if name not in OPERATOR_SETS:
        raise UserError(f"no operator set is called '{name}': {suggest(name, OPERATOR_SETS)}")
    return tuple(OPERATORS[label] for label in OPERATOR_SETS[name])
