"""The metric chooses while the sweep updates: SparseGPT's adaptive mask selection, any metric.

SparseGPT (arXiv:2301.00774, section 3.3) does not prune by scores of the dense weights: it chooses
when its sweep arrives, among weights that have paid for those pruned before. Here a metric takes
the place of its saliency ``ratio(sqr(W), H)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.masks import InvalidScores, check_scores
from pruner_zero.model.scoring import Scoring, terminals_of
from pruner_zero.model.selection import flat_mask, nofm_mask, row_mask
from pruner_zero.model.sparsegpt import InverseHessian, swept
from pruner_zero.model.sparsity import NofM, SparsityPattern, Unstructured
from pruner_zero.model.statistics import Statistics

_Scores = tuple[Callable[[Tensor, slice], Tensor], bool]


def check_adaptive(pattern: SparsityPattern) -> None:
    """Refuse a scope that a sweep through one layer's columns cannot have.

    Raises:
        UserError: names the scopes that it can.
    """
    if isinstance(pattern, Unstructured) and pattern.scope not in ("row", "layer"):
        raise UserError(
            f"update=adaptive chooses inside blocks of 128 columns of a layer, not in scope "
            f"'{pattern.scope}': use scope row or layer, or update=obs"
        )


def adaptively_pruned(
    layer: PrunableLayer,
    weight: Tensor,
    inverse: InverseHessian,
    metric: Scoring,
    statistics: Statistics,
    pattern: SparsityPattern,
) -> tuple[Tensor, Tensor]:
    """Prune and update one layer; the metric's W is the weight at the time of the choice.

    A ratio is kept from block to block of 128 columns: in each row (scope ``row``) or over all rows
    (``layer``, as SparseGPT does); the whole layer loses as many weights as without an update. With
    N:M a local metric (see `ColumnScores`) is asked every 16 columns, any other once per block.

    Args:
        layer: the layer.
        weight: its dense weight, [out, in].
        inverse: of its Hessian.
        metric: the score.
        statistics: everything that the metric reads beside W.
        pattern: N:M, or a ratio with scope ``row`` or ``layer``.

    Returns:
        The pruned and updated weight, [out, in] float32, and its mask, bool [out, in].

    Raises:
        InvalidScores: NaN, infinite or constant scores of the dense weight, or later NaN or
            infinite ones.
    """
    values = terminals_of(metric, statistics, layer, weight.device)
    scope = pattern.scope if isinstance(pattern, Unstructured) else "row"
    scores, local = _column_scores(metric, values, scope)
    check_scores(layer.name, scores(weight.detach().float(), slice(None)))

    def choose(current: Tensor, columns: slice) -> Tensor:
        found = scores(current, columns)
        if not bool(torch.isfinite(found).all()):
            raise InvalidScores(layer.name, "NaN" if bool(found.isnan().any()) else "Inf")
        if isinstance(pattern, NofM):
            return nofm_mask(found, pattern.n, pattern.m)
        rows = 1 if scope == "row" else len(found)
        # What was pruned before counts, or every block's fraction of a weight would be kept.
        first, last = (int(rows * bound * pattern.ratio) for bound in (columns.start, columns.stop))
        return (row_mask if scope == "row" else flat_mask)(found, last - first)

    if isinstance(pattern, NofM):
        return swept(weight, inverse, choose, pattern.m, often=local)
    return swept(weight, inverse, choose)


def _column_scores(metric: Scoring, values: Mapping[str, Tensor], scope: str) -> _Scores:
    """What scores columns of the weights as they are, and whether the metric is local."""
    if isinstance(metric, Metric):
        # By rank, so that formulas which order weights alike are asked alike.
        scores = metric.simplified("rank", scope).column_scores(values)
        return scores, scores.local
    return lambda current, columns: metric.score(current.abs(), **values)[:, columns], False
