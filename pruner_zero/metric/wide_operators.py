"""Operators that rescale: norms and maxima of rows and columns, layer-wide scalars, powers.

Rows, columns and layers of different scale become comparable when a score is divided by one of
these. Every reduction works on its argument as it is: X, [1, in], has one row, so that its
``rowrms`` is one number and its ``colrms`` is X itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pruner_zero.metric.words import Operator

MAX_EXPONENT = 4.0
"""``power`` clamps its exponent to ± this."""


def _power(x: Tensor, y: Tensor) -> Tensor:
    """``|x| ** clamp(y, -4, 4)``, elementwise; a negative power is at most ``1 / sqrt(tiny)``.

    ``tiny`` is the dtype's smallest normal number, so a vanishing ``|x|`` gives 9.2e18 in float32,
    as ``ratio(1, x)`` does: finite, and still finite when two such values are multiplied.
    """
    value = torch.pow(x.abs(), y.clamp(-MAX_EXPONENT, MAX_EXPONENT))
    limit = torch.finfo(value.dtype).tiny ** -0.5
    return torch.where(y < 0, value.clamp(max=limit), value)


def _root_mean_square(x: Tensor, dim: int) -> Tensor:
    return x.square().mean(dim=dim, keepdim=True).sqrt()


def _norm(x: Tensor, dim: int) -> Tensor:
    return torch.linalg.vector_norm(x, dim=dim, keepdim=True)


def _maximum(x: Tensor, dim: int) -> Tensor:
    return x.amax(dim=dim, keepdim=True)


WIDE = (
    Operator(
        "rowrms",
        1,
        lambda x: _root_mean_square(x, -1),
        "\\mathrm{{rms}}_{{\\mathrm{{row}}}}\\left({0}\\right)",
        "non-negative",
        "root mean square over the inputs of each output row, [out, 1]",
        even=True,
        reduces="row",
    ),
    Operator(
        "rownorm",
        1,
        lambda x: _norm(x, -1),
        "\\mathrm{{norm}}_{{\\mathrm{{row}}}}\\left({0}\\right)",
        "non-negative",
        "L2 norm over the inputs of each output row, [out, 1]",
        even=True,
        reduces="row",
    ),
    Operator(
        "rowmax",
        1,
        lambda x: _maximum(x, -1),
        "\\max_{{\\mathrm{{row}}}}\\left({0}\\right)",
        "as arguments",
        "maximum over the inputs of each output row, [out, 1]",
        reduces="row",
    ),
    Operator(
        "colrms",
        1,
        lambda x: _root_mean_square(x, 0),
        "\\mathrm{{rms}}_{{\\mathrm{{col}}}}\\left({0}\\right)",
        "non-negative",
        "root mean square over the outputs of each input column, [1, in]",
        even=True,
        reduces="column",
    ),
    Operator(
        "colnorm",
        1,
        lambda x: _norm(x, 0),
        "\\mathrm{{norm}}_{{\\mathrm{{col}}}}\\left({0}\\right)",
        "non-negative",
        "L2 norm over the outputs of each input column, [1, in]",
        even=True,
        reduces="column",
    ),
    Operator(
        "colmax",
        1,
        lambda x: _maximum(x, 0),
        "\\max_{{\\mathrm{{col}}}}\\left({0}\\right)",
        "as arguments",
        "maximum over the outputs of each input column, [1, in]",
        reduces="column",
    ),
    Operator(
        "layermean",
        1,
        lambda x: x.mean().reshape(1, 1),
        "\\mathrm{{mean}}\\left({0}\\right)",
        "as arguments",
        "mean over the whole tensor, [1, 1]",
        reduces="layer",
    ),
    Operator(
        "layerrms",
        1,
        lambda x: x.square().mean().sqrt().reshape(1, 1),
        "\\mathrm{{rms}}\\left({0}\\right)",
        "non-negative",
        "root mean square over the whole tensor, [1, 1]",
        even=True,
        reduces="layer",
    ),
    Operator(
        "power",
        2,
        _power,
        "\\left|{0}\\right|^{{{1}}}",
        "non-negative",
        "|x| to the power of a constant in [-4, 4]; a vanishing |x| stays finite",
        even=True,
    ),
)
