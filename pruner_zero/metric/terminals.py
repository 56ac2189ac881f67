"""The terminal table: what a metric may read of a layer.

The ``paper`` set has W, G and X as the public code of Pruner-Zero (arXiv:2406.02924) passes them.
The ``wide`` set adds statistics that the same calibration pass measures; `pruner_zero.model`
measures them. N sequences of L tokens are meant wherever a mean is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric.words import Extent, Terminal

_WEIGHT, _ROW, _COLUMN = Extent(True, True), Extent(True, False), Extent(False, True)
_LAYER = Extent(False, False)

_PAPER = (
    Terminal("W", "weight", "absolute weight, [out, in]", "|W|", _WEIGHT),
    Terminal(
        "G",
        "gradient",
        "gradient magnitude over the calibration sequences, [out, in]",
        "|G|",
        _WEIGHT,
    ),
    Terminal(
        "X",
        "activation norms",
        "mean over sequences of each input feature's squared L2 norm, [1, in]",
        "\\overline{\\|x\\|^2}",
        _COLUMN,
    ),
)

_MEASURED = (
    Terminal(
        "R",
        "output gradient norms",
        "mean over sequences of the squared L2 norm over tokens of each output's gradient, of the "
        "sequence's mean loss, scaled like G, [out, 1]",
        "\\overline{\\|\\partial y\\|^2}",
        _ROW,
    ),
    Terminal(
        "M",
        "input means",
        "absolute value of each input feature's mean over all tokens, [1, in]",
        "|\\overline{x}|",
        _COLUMN,
    ),
    Terminal(
        "V",
        "input variances",
        "variance of each input feature over all tokens (divided by their number), [1, in]",
        "\\sigma_x^2",
        _COLUMN,
    ),
    Terminal(
        "H",
        "inverse Hessian diagonals",
        "squared diagonal of the upper Cholesky factor of SparseGPT's damped inverse Hessian, so "
        "that ratio(sqr(W), H) is SparseGPT's saliency, [1, in]",
        "h",
        _COLUMN,
    ),
    Terminal(
        "D",
        "depth",
        "relative depth of the layer, (block index + 1) / number of blocks, [1, 1]",
        "d",
        _LAYER,
        of_block=True,
    ),
)

TERMINALS: Mapping[str, Terminal] = MappingProxyType({t.name: t for t in _PAPER + _MEASURED})
TERMINAL_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"paper": tuple(t.name for t in _PAPER), "wide": tuple(TERMINALS)}
)


def terminal_set(name: str) -> tuple[Terminal, ...]:
    """Return the terminals of a named set, in the table's order.

    Args:
        name: ``paper`` (W, G and X) or ``wide`` (all).

    Raises:
        UserError: when no set has this name.
    """
    if name not in TERMINAL_SETS:
        raise UserError(f"no terminal set is called '{name}': {suggest(name, TERMINAL_SETS)}")
    return tuple(TERMINALS[label] for label in TERMINAL_SETS[name])
