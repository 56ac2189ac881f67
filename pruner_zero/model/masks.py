"""Scores become masks: exact counts, deterministic ties, nothing non-finite kept or pruned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

import torch
from torch import Tensor

from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.radix import KthValue, kth_lowest
from pruner_zero.model.score_stack import Score, ScoredWindow, scored_windows
from pruner_zero.model.selection import flat_mask, nofm_mask, row_mask
from pruner_zero.model.sparsity import NofM, SparsityPattern

__all__ = [
    "InvalidScores",
    "LayerMask",
    "Score",
    "ScoreRoom",
    "check_scores",
    "flat_mask",
    "layer_mask",
    "nofm_mask",
    "prune_masks",
    "row_mask",
]

LayerMask: TypeAlias = tuple[PrunableLayer, Tensor]


class InvalidScores(Exception):
    """Scores that no mask can be made of.

    Attributes:
        layer: full name of the first layer concerned.
        reason: ``"NaN"``, ``"Inf"`` or ``"constant"`` (every weight of the layer scores the same,
            so that the tie rule and not the metric would choose).
    """

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"{reason} scores in {layer}")
        self.layer = layer
        self.reason = reason


class ScoreRoom:
    """Memory for the scores of layers that compete, taken once and used for every metric.

    Args:
        limit: most bytes that may be used; scores that need more are not kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._room = torch.empty(0)

    def keep(self, layers: Sequence[PrunableLayer], scores: Iterable[Tensor]) -> Tensor | None:
        """Copy scores in, over what was there before.

        Args:
            layers: whose scores they are.
            scores: for each layer [out, in] float32; left alone when they do not fit.

        Returns:
            The kept scores, one layer after the other, [weights], valid until the next call; None
            when they do not fit.
        """
        sizes = [math.prod(layer.shape) for layer in layers]
        devices = {layer.weight.device for layer in layers}
        if 4 * sum(sizes) > self.limit or len(devices) > 1:
            return None
        if self._room.numel() < sum(sizes) or self._room.device not in devices:
            self._room = torch.empty(sum(sizes), device=devices.pop())
        kept = self._room[: sum(sizes)]
        for layer, part, values in zip(layers, kept.split(sizes), scores, strict=True):
            part.view(layer.shape).copy_(values)
        return kept


def prune_masks(
    layers: Sequence[PrunableLayer],
    score: Score,
    pattern: SparsityPattern,
    room: ScoreRoom | None = None,
) -> Iterator[LayerMask]:
    """Make the masks of all layers, one at a time.

    Args:
        layers: in the order in which equal scores are pruned (block and model scope).
        score: gives a layer's scores, [out, in] float32; the lowest are pruned. It is called once
            per layer, or with block or model scope three times when there is no room for all that
            compete, and must give the same values each time.
        pattern: how many weights go and which compete.
        room: where scores of layers that compete with one another are kept.

    Yields:
        Each layer with its bool mask [out, in] on the scores' device, True where pruned.

    Raises:
        UserError: the pattern does not fit a layer, or scores have the wrong shape.
        InvalidScores: NaN, infinite or constant scores.
    """
    pattern.check(layers)
    if isinstance(pattern, NofM) or pattern.scope in ("row", "layer"):
        for window in _checked(layers, score):
            yield from window.each(lambda scores: stack_mask(scores, pattern))
    elif pattern.scope == "block":
        for _, block in groupby(layers, key=lambda layer: layer.block):
            yield from _joint_masks(list(block), score, pattern.ratio, room)
    else:
        yield from _joint_masks(layers, score, pattern.ratio, room)


def layer_mask(scores: Tensor, pattern: SparsityPattern) -> Tensor:
    """Make the mask of one layer on its own.

    Args:
        scores: [out, in] float32, finite.
        pattern: N:M, or a ratio with scope ``row`` or ``layer``.

    Returns:
        Bool mask [out, in], True where pruned.

    Raises:
        ValueError: the scope is wider than a layer.
    """
    return stack_mask(scores.unsqueeze(0), pattern)[0]


def stack_mask(scores: Tensor, pattern: SparsityPattern) -> Tensor:
    """Make the masks of several layers of one shape, each on its own.

    Args:
        scores: [n, out, in] float32, finite.
        pattern: see `layer_mask`.

    Returns:
        Bool masks [n, out, in].

    Raises:
        ValueError: the scope is wider than a layer.
    """
    if isinstance(pattern, NofM):
        return nofm_mask(scores.flatten(0, 1), pattern.n, pattern.m).view(scores.shape)
    if pattern.scope == "row":
        k = int(scores.shape[2] * pattern.ratio)
        return row_mask(scores.flatten(0, 1), k).view(scores.shape)
    if pattern.scope == "layer":
        k = int(scores[0].numel() * pattern.ratio)
        return row_mask(scores.flatten(1), k).view(scores.shape)
    raise ValueError(f"scope '{pattern.scope}' is wider than one layer: use prune_masks")


def check_scores(name: str, scores: Tensor) -> None:
    """Refuse scores that would be pruned or kept silently.

    Args:
        name: the layer's name.
        scores: [out, in].

    Raises:
        InvalidScores: NaN or infinite values, or one value for every weight of the layer.
    """
    low, high = _bounds(scores.unsqueeze(0))[0].tolist()
    _check_bounds(name, low, high, scores.numel())


def _check_bounds(name: str, low: float, high: float, count: int) -> None:
    if math.isnan(low) or math.isnan(high):
        raise InvalidScores(name, "NaN")
    if math.isinf(low) or math.isinf(high):
        raise InvalidScores(name, "Inf")
    if low == high and count > 1:
        raise InvalidScores(name, "constant")


def _bounds(scores: Tensor) -> Tensor:
    """Lowest and highest score of each layer of a stack, [n, 2]; NaN where any is NaN."""
    if len(scores) == 1:  # the CPU is far faster without a dimension
        return torch.stack(torch.aminmax(scores)).unsqueeze(0)
    return torch.stack(torch.aminmax(scores.flatten(1), dim=1), dim=1)


def _checked(layers: Sequence[PrunableLayer], score: Score) -> Iterator[ScoredWindow]:
    """Score layers and check the scores, with one wait for the device per window."""
    for window in scored_windows(layers, score):
        bounds = torch.cat([_bounds(scores) for _, scores in window.stacks]).tolist()
        stacked = (layer for group, _ in window.stacks for layer in group)
        found = dict(zip(stacked, bounds, strict=True))
        for layer in window.layers:
            low, high = found[layer]
            _check_bounds(layer.name, low, high, math.prod(layer.shape))
        yield window


def _joint_masks(
    layers: Sequence[PrunableLayer], score: Score, ratio: float, room: ScoreRoom | None
) -> Iterator[LayerMask]:
    """Masks of layers whose weights all compete, exact in number."""
    sizes = [math.prod(layer.shape) for layer in layers]
    k = int(sum(sizes) * ratio)

    def scored() -> Iterator[Tensor]:
        return (scores for window in _checked(layers, score) for _, scores in window.each())

    if k == 0:
        for layer, scores in zip(layers, scored(), strict=True):
            yield layer, torch.zeros_like(scores, dtype=torch.bool)
        return
    held = room.keep(layers, scored()) if room else None
    if held is not None and held.is_cuda:
        for layer, mask in zip(layers, flat_mask(held, k).split(sizes), strict=True):
            yield layer, mask.view(layer.shape)
        return

    def stream() -> Iterable[Tensor]:
        if held is None:
            return scored()
        parts = zip(layers, held.split(sizes), strict=True)
        return (part.view(layer.shape) for layer, part in parts)

    kth: KthValue = kth_lowest(stream, k)
    places = k - kth.below
    for layer, scores in zip(layers, stream(), strict=True):
        tied = int(torch.count_nonzero(scores == kth.value))
        if tied <= places:
            mask = scores <= kth.value
        else:
            mask = scores < kth.value
            first = (scores == kth.value).reshape(-1).nonzero()[:places, 0]
            mask.view(-1)[first] = True
        places -= min(tied, places)
        yield layer, mask
