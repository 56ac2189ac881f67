"""Scores become masks: exact counts, deterministic ties, nothing non-finite kept or pruned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

import torch
from torch import Tensor

from pruner_zero.model.layers import PrunableLayer, check_same_layer
from pruner_zero.model.radix import KthValue, kth_lowest
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

Score: TypeAlias = Callable[[PrunableLayer], Tensor]
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

    def keep(self, layers: Sequence[PrunableLayer], scores: Iterable[Tensor]) -> list[Tensor]:
        """Copy scores in, over what was there before.

        Args:
            layers: whose scores they are.
            scores: for each layer [out, in] float32; left alone when they do not fit.

        Returns:
            The kept scores, valid until the next call; empty when they do not fit.
        """
        sizes = [math.prod(layer.shape) for layer in layers]
        devices = {layer.weight.device for layer in layers}
        if 4 * sum(sizes) > self.limit or len(devices) > 1:
            return []
        if self._room.numel() < sum(sizes) or self._room.device not in devices:
            self._room = torch.empty(sum(sizes), device=devices.pop())
        parts = self._room[: sum(sizes)].split(sizes)
        return [
            part.view(layer.shape).copy_(values)
            for layer, part, values in zip(layers, parts, scores, strict=True)
        ]


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
        for layer in layers:
            yield layer, layer_mask(_checked(layer, score), pattern)
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
    if isinstance(pattern, NofM):
        return nofm_mask(scores, pattern.n, pattern.m)
    if pattern.scope == "row":
        return row_mask(scores, int(scores.shape[1] * pattern.ratio))
    if pattern.scope == "layer":
        return flat_mask(scores, int(scores.numel() * pattern.ratio))
    raise ValueError(f"scope '{pattern.scope}' is wider than one layer: use prune_masks")


def check_scores(name: str, scores: Tensor) -> None:
    """Refuse scores that would be pruned or kept silently.

    Args:
        name: the layer's name.
        scores: [out, in].

    Raises:
        InvalidScores: NaN or infinite values, or one value for every weight of the layer.
    """
    low, high = (float(bound) for bound in torch.aminmax(scores))
    if math.isnan(low) or math.isnan(high):
        raise InvalidScores(name, "NaN")
    if math.isinf(low) or math.isinf(high):
        raise InvalidScores(name, "Inf")
    if low == high and scores.numel() > 1:
        raise InvalidScores(name, "constant")


def _checked(layer: PrunableLayer, score: Score) -> Tensor:
    scores = score(layer).detach().float()
    check_same_layer(layer, scores, "score")
    check_scores(layer.name, scores)
    return scores


def _joint_masks(
    layers: Sequence[PrunableLayer], score: Score, ratio: float, room: ScoreRoom | None
) -> Iterator[LayerMask]:
    """Masks of layers whose weights all compete, exact in number."""
    k = int(sum(math.prod(layer.shape) for layer in layers) * ratio)
    if k == 0:
        for layer in layers:
            yield layer, torch.zeros_like(_checked(layer, score), dtype=torch.bool)
        return
    scores_of = (_checked(layer, score) for layer in layers)
    held = room.keep(layers, scores_of) if room else None

    def stream() -> Iterable[Tensor]:
        return held or (_checked(layer, score) for layer in layers)

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
