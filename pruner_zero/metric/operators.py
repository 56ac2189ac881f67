"""The operator table: every operator of the metric language, and the sets a search may draw from.

``paper`` is the public code's set; ``extended`` adds what structured metrics such as RIA need,
``wide`` also norms, maxima, layer-wide scalars and powers. A user's own operators join the table
by `register`, see `own_operators`; they are in no named set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric.paper_operators import PAPER
from pruner_zero.metric.structure_operators import STRUCTURE
from pruner_zero.metric.wide_operators import WIDE
from pruner_zero.metric.words import Operator

_BUILT_IN = {operator.name: operator for operator in (*PAPER, *STRUCTURE, *WIDE)}
_table = dict(_BUILT_IN)
OPERATORS: Mapping[str, Operator] = MappingProxyType(_table)
OPERATOR_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "paper": tuple(operator.name for operator in PAPER),
        "extended": tuple(operator.name for operator in PAPER + STRUCTURE),
        "wide": tuple(_BUILT_IN),
    }
)


def operator_set(name: str) -> tuple[Operator, ...]:
    """Return the operators of a named set, in the table's order.

    Args:
        name: ``paper`` (the 15 of the public code), ``extended`` or ``wide``.

    Raises:
        UserError: when no set has this name.
    """
    if name not in OPERATOR_SETS:
        raise UserError(f"no operator set is called '{name}': {suggest(name, OPERATOR_SETS)}")
    return tuple(OPERATORS[label] for label in OPERATOR_SETS[name])


def register(operators: Iterable[Operator]) -> None:
    """Add operators to the table, for the rest of the process.

    A word keeps its meaning: formulas that were read, and the facts that are known of them, would
    be wrong otherwise.

    Raises:
        UserError: a name that is taken.
    """
    new = {operator.name: operator for operator in operators}
    for name in new:
        if name in _table:
            raise UserError(f"an operator called '{name}' exists already: choose another name")
    _table.update(new)
