"""Scores of a layer's columns while the weights change under a sweep and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pruner_zero.metric.evaluate import evaluate
from pruner_zero.metric.expression import Expression
from pruner_zero.metric.expression import W as WEIGHT
from pruner_zero.metric.facts import is_pointwise
from pruner_zero.metric.terminals import TERMINALS


class ColumnScores:
    """What a metric says of some columns of a layer, at any state of the layer's weights.

    Subtrees that do not read W, such as ``mms(G)``, are computed once, over the whole layer. A
    metric is local when what it does with W needs nothing beyond the weight's own place: then some
    columns cost no more than their share of the layer. Any other is computed over the whole layer
    each time.

    Args:
        tree: the metric's expression.
        values: a float32 tensor for every terminal but W that it reads, by name, each of the
            shape that ``TERMINALS`` gives.

    Attributes:
        local: whether the metric is local.
    """

    def __init__(self, tree: Expression, values: Mapping[str, Tensor]) -> None:
        self._tree = tree
        self.local = all(is_pointwise(node) for node in tree.nodes() if _reads_weight(node))
        self._fixed = {
            node: evaluate(node, values)
            for node in _largest_without_weight(tree)
            if any(part.label in TERMINALS for part in node.nodes())
        }

    def __call__(self, weight: Tensor, columns: slice) -> Tensor:
        """Score some columns.

        Args:
            weight: the layer's weights as they are now, [out, in] float32.
            columns: which of them.

        Returns:
            [out, columns] float32. Not checked for NaN or Inf.
        """
        part = columns if self.local else slice(None)
        known = {
            node: value[:, part] if value.shape[-1] > 1 else value
            for node, value in self._fixed.items()
        }
        here = weight[:, part].abs()
        scores = evaluate(self._tree, {"W": here}, known).expand(here.shape)
        return scores if self.local else scores[:, columns]


def _reads_weight(tree: Expression) -> bool:
    return any(node == WEIGHT for node in tree.nodes())


def _largest_without_weight(tree: Expression) -> list[Expression]:
    if not _reads_weight(tree):
        return [tree]
    return [node for child in tree.children for node in _largest_without_weight(child)]
