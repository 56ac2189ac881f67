"""Operators that structured metrics such as RIA need: sums, means, elementwise comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from pruner_zero.metric.words import Operator


def _protected_ratio(x: Tensor, y: Tensor) -> Tensor:
    # Signs are kept; only a vanishing denominator is replaced, so ratios stay finite.
    tiny = torch.finfo(y.dtype).tiny ** 0.5
    safe = torch.where(y.abs() < tiny, torch.full_like(y, tiny), y)
    return x / safe


STRUCTURE = (
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
        reduces="row",
    ),
    Operator(
        "colsum",
        1,
        lambda x: x.sum(dim=0, keepdim=True),
        "\\textstyle\\sum_{{\\mathrm{{col}}}} {0}",
        "as arguments",
        "sum over the outputs of each input column, [1, in]",
        reduces="column",
    ),
    Operator(
        "rowmean",
        1,
        lambda x: x.mean(dim=-1, keepdim=True),
        "\\mathrm{{mean}}_{{\\mathrm{{row}}}}\\left({0}\\right)",
        "as arguments",
        "mean over the inputs of each output row, [out, 1]",
        reduces="row",
    ),
    Operator(
        "colmean",
        1,
        lambda x: x.mean(dim=0, keepdim=True),
        "\\mathrm{{mean}}_{{\\mathrm{{col}}}}\\left({0}\\right)",
        "as arguments",
        "mean over the outputs of each input column, [1, in]",
        reduces="column",
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
