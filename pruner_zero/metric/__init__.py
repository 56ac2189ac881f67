"""The symbolic metric language: tensors in, scores out. Knows nothing of models or searches."""

from pruner_zero.metric.expression import Expression
from pruner_zero.metric.library import KNOWN_METRICS
from pruner_zero.metric.metric import Metric
from pruner_zero.metric.operators import OPERATOR_SETS, OPERATORS, operator_set
from pruner_zero.metric.own_operators import load_operators, operator
from pruner_zero.metric.simplify import SIMPLIFICATIONS, simplify
from pruner_zero.metric.terminals import TERMINAL_SETS, TERMINALS, terminal_set
from pruner_zero.metric.words import Operator

__all__ = [
    "KNOWN_METRICS",
    "OPERATORS",
    "OPERATOR_SETS",
    "SIMPLIFICATIONS",
    "TERMINALS",
    "TERMINAL_SETS",
    "Expression",
    "Metric",
    "Operator",
    "load_operators",
    "operator",
    "operator_set",
    "simplify",
    "terminal_set",
]
