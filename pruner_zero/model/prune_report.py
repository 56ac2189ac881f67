"""What pruning did, in numbers counted on the pruned weights themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from pruner_zero.model.layers import PrunableLayer


@dataclass(frozen=True)
class LayerReport:
    """One pruned layer.

    Attributes:
        name: full dotted name.
        shape: (out, in).
        zeros: weights that are zero now.
    """

    name: str
    shape: tuple[int, int]
    zeros: int

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.zeros / (self.shape[0] * self.shape[1])


@dataclass(frozen=True)
class PruneReport:
    """What ``prune`` did.

    Attributes:
        method: name or formula.
        pattern: sparsity as text, ``"0.5"`` or ``"2:4"``.
        scope: which weights competed: a scope, ``"group"`` for N:M, ``"columns"`` for SparseGPT.
        mode: ``"sequential"`` or ``"one_shot"``.
        update: ``"none"`` or ``"obs"``.
        allocation: ``"uniform"`` or ``"owl"``.
        seconds: wall time, statistics included when they had to be measured.
        layers: every prunable layer.
    """

    method: str
    pattern: str
    scope: str
    mode: str
    update: str
    allocation: str
    seconds: float
    layers: tuple[LayerReport, ...]

    @property
    def zeros(self) -> int:
        """Zeros in all layers."""
        return sum(layer.zeros for layer in self.layers)

    @property
    def weights(self) -> int:
        """Prunable weights in all layers."""
        return sum(layer.shape[0] * layer.shape[1] for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of zeros among the prunable weights."""
        return self.zeros / self.weights


def count_zeros(layers: Iterable[PrunableLayer]) -> tuple[LayerReport, ...]:
    """Count the zeros of each layer.

    Args:
        layers: the layers.

    Returns:
        One record per layer, in order.
    """
    return tuple(
        LayerReport(
            layer.name,
            layer.shape,
            layer.weight.numel() - int(torch.count_nonzero(layer.weight.detach())),
        )
        for layer in layers
    )
