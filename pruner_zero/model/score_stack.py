"""Scores of several layers at once, where starting a kernel costs more than its work.

A layer of a small model keeps a GPU busy for microseconds, less than the processor takes to start
the kernels of a metric. Layers of one shape are therefore scored as one [n, out, in] tensor, in
windows of consecutive layers, which bounds the memory and keeps the layers' order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from pruner_zero.model.layers import PrunableLayer, check_same_layer

CUDA_WINDOW = 1 << 26
"""Weights scored at once on CUDA: 256 MB for each float32 value of a metric."""

Score: TypeAlias = Callable[[PrunableLayer], Tensor]


@runtime_checkable
class StackedScore(Protocol):
    """A score that takes several layers at once."""

    @property
    def window(self) -> int:
        """Most weights to be scored at once; 0 where layers are better scored one at a time."""

    def __call__(self, layer: PrunableLayer) -> Tensor:
        """Scores of one layer, [out, in]."""

    def stacked(self, layers: Sequence[PrunableLayer]) -> Tensor:
        """Scores of n layers of one shape, [n, out, in]."""


@dataclass(frozen=True)
class ScoredWindow:
    """Consecutive layers with their scores.

    Attributes:
        layers: in their order.
        stacks: the same layers by shape, each group with its scores, [n, out, in] float32.
    """

    layers: Sequence[PrunableLayer]
    stacks: Sequence[tuple[Sequence[PrunableLayer], Tensor]]

    def each(
        self, made: Callable[[Tensor], Tensor] = lambda scores: scores
    ) -> Iterator[tuple[PrunableLayer, Tensor]]:
        """Each layer with its part, [out, in], of what is made of its stack, [n, out, in]."""
        parts = {
            layer: part
            for group, scores in self.stacks
            for layer, part in zip(group, made(scores).unbind(), strict=True)
        }
        return ((layer, parts[layer]) for layer in self.layers)


def scored_windows(layers: Sequence[PrunableLayer], score: Score) -> Iterator[ScoredWindow]:
    """Score layers, one at a time or, where the score says so, many at once.

    Args:
        layers: in order.
        score: gives a layer's scores; a `StackedScore` also those of several.

    Yields:
        The layers with their scores, in order.

    Raises:
        UserError: scores of the wrong shape.
    """
    limit = score.window if isinstance(score, StackedScore) else 0
    for window in _cut(layers, limit):
        stacks = []
        for group in _by_shape(window):
            if len(group) > 1 and isinstance(score, StackedScore):
                scores = score.stacked(group)
            else:
                scores = score(group[0]).unsqueeze(0)
            check_same_layer(group[0], scores[0], "score")
            stacks.append((group, scores.detach().float()))
        yield ScoredWindow(window, stacks)


def _cut(layers: Sequence[PrunableLayer], limit: int) -> Iterator[list[PrunableLayer]]:
    """Pieces of at most `limit` weights, but of at least one layer."""
    window: list[PrunableLayer] = []
    weights = 0
    for layer in layers:
        out, inputs = layer.shape
        if window and weights + out * inputs > limit:
            yield window
            window, weights = [], 0
        window.append(layer)
        weights += out * inputs
    if window:
        yield window


def _by_shape(layers: Sequence[PrunableLayer]) -> list[list[PrunableLayer]]:
    groups: dict[tuple[int, int], list[PrunableLayer]] = {}
    for layer in layers:
        groups.setdefault(layer.shape, []).append(layer)
    return list(groups.values())
