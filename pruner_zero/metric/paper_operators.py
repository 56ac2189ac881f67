"""The 15 operators of Pruner-Zero (arXiv:2406.02924), with the semantics of its public code.

``div`` divides by the Frobenius *norm* of its second argument, ``sqr`` and ``pow`` are both the
square, ``log``, ``exp`` and ``sqrt`` are protected.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pruner_zero.metric.words import Operator


def _div_by_norm(x: Tensor, y: Tensor) -> Tensor:
    x, y = torch.broadcast_tensors(x, y)
    return x / torch.linalg.vector_norm(y)


def _min_max(x: Tensor) -> Tensor:
    low, high = torch.aminmax(x)
    return (x - low) / (high - low)


def _z_score(x: Tensor) -> Tensor:
    # One number alone has no score: NaN, without torch's warning about its standard deviation.
    return (x - x.mean()) / x.std(correction=min(1, x.numel() - 1))


PAPER = (
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
