"""A metric and a model's statistics make a score per layer: the only meeting point of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pruner_zero.errors import UserError
from pruner_zero.metric import TERMINALS
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.score_stack import CUDA_WINDOW
from pruner_zero.model.statistics import Statistics


class Scoring(Protocol):
    """What pruning needs of a metric; ``pruner_zero.metric.Metric`` is one."""

    @property
    def terminals(self) -> frozenset[str]:
        """Which terminals the metric reads."""

    def score(self, W: Tensor, **others: Tensor) -> Tensor:
        """Score per weight, [out, in] float32, from W [out, in] and what else is read, by name."""


def scorer(
    metric: Scoring, statistics: Statistics, dense: DenseWeights | None = None
) -> LayerScores:
    """Bind a metric to a model's statistics.

    ``W`` is the absolute weight in float32, as in the public code. A terminal that the metric does
    not read is not passed and need not have been measured.

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
    check_measured(metric, statistics)
    return LayerScores(metric, statistics, dense)


@dataclass(frozen=True)
class LayerScores:
    """A metric on a model's layers, see `scorer`; a `score_stack.StackedScore`."""

    metric: Scoring
    statistics: Statistics
    dense: DenseWeights | None

    @property
    def window(self) -> int:
        """See `StackedScore`. Weights that visit the device one at a time are scored so too."""
        on_device = self.dense is not None and self.dense.resident_on("cuda")
        return CUDA_WINDOW if on_device else 0

    def __call__(self, layer: PrunableLayer) -> Tensor:
        """Scores of one layer, [out, in]."""
        W = self._weight(layer).float().abs()
        others = terminals_of(self.metric, self.statistics, layer, W.device)
        return self.metric.score(W, **others)

    def stacked(self, layers: Sequence[PrunableLayer]) -> Tensor:
        """Scores of n layers of one shape, [n, out, in], each computed as if it were alone."""
        W = torch.stack([self._weight(layer) for layer in layers]).float().abs()
        measured = [terminals_of(self.metric, self.statistics, layer, W.device) for layer in layers]
        others = {name: torch.stack([each[name] for each in measured]) for name in measured[0]}
        try:
            return torch.vmap(lambda W, others: self.metric.score(W, **others))(W, others)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception:
            # An operator of the user's may do what is not possible on many tensors at once, such
            # as looking at a value. What is wrong with it in any case shows here.
            return torch.stack([self(layer) for layer in layers])

    def _weight(self, layer: PrunableLayer) -> Tensor:
        return self.dense.weight(layer) if self.dense else layer.weight.detach()


def check_measured(metric: Scoring, statistics: Statistics) -> None:
    """Refuse a metric that reads what was not measured.

    Raises:
        UserError: names the terminals.
    """
    missing = sorted(metric.terminals - statistics.terminals())
    if missing:
        raise UserError(
            f"the metric reads {', '.join(missing)}, which was not measured: "
            f"measure_statistics(model, ids, terminals={missing}) measures it"
        )


def terminals_of(
    metric: Scoring, statistics: Statistics, layer: PrunableLayer, device: torch.device
) -> dict[str, Tensor]:
    """What a metric reads of one layer beside W, by name, in float32 on a device."""
    names = sorted(metric.terminals - {"W"})
    return {name: terminal_of(statistics, layer, name).to(device) for name in names}


def terminal_of(statistics: Statistics, layer: PrunableLayer, name: str) -> Tensor:
    """A terminal other than W of one layer.

    Args:
        statistics: measured or read from a file.
        layer: a layer of the model.
        name: the terminal.

    Returns:
        Float32, of the terminal's shape.

    Raises:
        UserError: the statistics are of another model.
    """
    if name == "D":
        return torch.full((1, 1), layer.depth)
    title = TERMINALS[name].title
    value = statistics.values.get(name, {}).get(layer.name)
    if value is None:
        raise UserError(f"no {title} of {layer.name}: the statistics are of another model")
    expected = TERMINALS[name].shape(*layer.shape)
    if tuple(value.shape) != expected:
        raise UserError(
            f"{title} of {layer.name} has shape {list(value.shape)}, "
            f"the model's weight needs {list(expected)}"
        )
    return value.float()
