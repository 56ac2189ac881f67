"""A metric and a model's statistics make a score per layer: the only meeting point of the two."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pruner_zero.errors import UserError
from pruner_zero.model.layers import PrunableLayer, check_same_layer
from pruner_zero.model.masks import Score
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.statistics import Statistics


class Scoring(Protocol):
    """What pruning needs of a metric; ``pruner_zero.metric.Metric`` is one."""

    @property
    def terminals(self) -> frozenset[str]:
        """Which of ``W``, ``G``, ``X`` the metric reads."""

    def score(self, W: Tensor, G: Tensor, X: Tensor) -> Tensor:
        """Score per weight, [out, in] float32, from W [out, in], G [out, in] and X [1, in]."""


def scorer(metric: Scoring, statistics: Statistics, dense: DenseWeights | None = None) -> Score:
    """Bind a metric to a model's statistics.

    ``W`` is the absolute weight in float32, as in the public code. A terminal that the metric does
    not read is passed as an empty tensor and need not have been measured.

    Args:
        metric: the metric.
        statistics: of the same model.
        dense: where the weights are read; by default from the model as it is.

    Returns:
        Function of a layer that gives its scores, [out, in] float32, on the weight's device.

    Raises:
        UserError: the metric reads a terminal that was not measured; when called: statistics of
            another model (missing layer, other shape).
    """
    missing = metric.terminals - statistics.terminals()
    if missing:
        raise UserError(
            f"the metric reads {', '.join(sorted(missing))}, which was not measured: "
            "measure statistics with gradients and activations"
        )

    def score(layer: PrunableLayer) -> Tensor:
        weight = dense.weight(layer) if dense else layer.weight.detach()
        W = weight.float().abs()
        unread = W.new_empty(0)
        G = gradient_of(statistics, layer).to(W.device) if "G" in metric.terminals else unread
        X = activation_of(statistics, layer).to(W.device) if "X" in metric.terminals else unread
        return metric.score(W, G, X)

    return score


def gradient_of(statistics: Statistics, layer: PrunableLayer) -> Tensor:
    """G of a layer, [out, in] float32.

    Args:
        statistics: measured or read from a file.
        layer: a layer of the model.

    Raises:
        UserError: the statistics are of another model.
    """
    if layer.name not in statistics.G:
        raise UserError(f"no gradient of {layer.name}: the statistics are of another model")
    value = statistics.G[layer.name]
    check_same_layer(layer, value, "gradient")
    return value.float()


def activation_of(statistics: Statistics, layer: PrunableLayer) -> Tensor:
    """X of a layer, [1, in] float32.

    Args:
        statistics: measured or read from a file.
        layer: a layer of the model.

    Raises:
        UserError: the statistics are of another model.
    """
    if layer.name not in statistics.X:
        raise UserError(f"no activation norms of {layer.name}: the statistics are of another model")
    value = statistics.X[layer.name]
    if value.numel() != layer.shape[1]:
        raise UserError(
            f"activation norms of {layer.name} have {value.numel()} features, "
            f"the model's weight has {layer.shape[1]}"
        )
    return value.float().reshape(1, -1)
