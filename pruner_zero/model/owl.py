"""OWL (arXiv:2310.05175): blocks with more outlier weights keep more weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

import torch
from torch import Tensor

from pruner_zero.errors import UserError
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.scoring import terminal_of
from pruner_zero.model.statistics import Statistics

OUTLIER_FACTOR = 5.0
SPREAD = 0.08


def outlier_shares(
    layers: Iterable[PrunableLayer], statistics: Statistics, factor: float = OUTLIER_FACTOR
) -> dict[int, float]:
    """Share of outliers of each block: Wanda scores above ``factor`` times the block's mean.

    Args:
        layers: all prunable layers, block by block, dense.
        statistics: with X of the dense model.
        factor: M of the paper.

    Returns:
        Block index → share in percent.

    Raises:
        UserError: the statistics are of another model.
    """
    shares = {}
    for index, block in groupby(layers, key=lambda layer: layer.block):
        members = list(block)
        size = sum(layer.weight.numel() for layer in members)
        total = sum(float(_wanda(layer, statistics).sum(dtype=torch.float64)) for layer in members)
        limit = factor * total / size
        above = sum(int((_wanda(layer, statistics) > limit).sum()) for layer in members)
        shares[index] = 100.0 * above / size
    return shares


def owl_ratios(
    shares: Mapping[int, float], ratio: float, spread: float = SPREAD
) -> dict[int, float]:
    """Turn outlier shares into one sparsity per block, with the wanted mean.

    Density of block b is ``(o_b − min) / (max − min) · 2λ``, shifted so that the densities' mean is
    ``1 − ratio``.

    Args:
        shares: block → outlier share.
        ratio: mean sparsity over the blocks.
        spread: λ of the paper; sparsities differ by at most 2λ.

    Returns:
        Block → sparsity. All equal when the shares are.

    Raises:
        UserError: a block's sparsity would leave (0, 1).
    """
    low, high = min(shares.values()), max(shares.values())
    if low == high:
        return dict.fromkeys(shares, ratio)
    densities = {b: (share - low) / (high - low) * 2 * spread for b, share in shares.items()}
    shift = 1 - ratio - sum(densities.values()) / len(densities)
    ratios = {block: 1 - (density + shift) for block, density in densities.items()}
    for block, value in ratios.items():
        if not 0 < value < 1:
            raise UserError(
                f"OWL with mean sparsity {ratio:g} gives block {block} sparsity {value:.3f}: "
                "use the uniform allocation at such sparsities"
            )
    return ratios


def _wanda(layer: PrunableLayer, statistics: Statistics) -> Tensor:
    weight = layer.weight.detach().float().abs()
    return weight * terminal_of(statistics, layer, "X").to(weight.device).sqrt()
