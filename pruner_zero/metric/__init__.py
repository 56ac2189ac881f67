"""The symbolic metric language: tensors in, scores out. Knows nothing of models or searches."""

from pruner_zero.metric.expression import Expression
from pruner_zero.metric.library import KNOWN_METRICS
from pruner_zero.metric.metric import Metric
from pruner_zero.metric.operators import OPERATOR_SETS, OPERATORS, TERMINALS, operator_set
from pruner_zero.metric.simplify import SIMPLIFICATIONS, simplify

__all__ = [
    "KNOWN_METRICS",
    "OPERATORS",
    "OPERATOR_SETS",
    "SIMPLIFICATIONS",
    "TERMINALS",
    "Expression",
    "Metric",
    "operator_set",
    "simplify",
]
