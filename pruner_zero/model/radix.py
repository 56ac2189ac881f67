"""The exact k-th lowest float32 of a stream of tensors that is never held at once.

A float32 maps to an integer with the same order. One pass counts the upper 16 bits of all values,
which brackets the k-th lowest; a second pass counts the lower 16 bits inside that bracket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_BUCKETS = 1 << 16


@dataclass(frozen=True)
class KthValue:
    """The k-th lowest value of a stream.

    Attributes:
        value: the value.
        below: how many values are strictly lower; ``k - below`` of the equal ones come first.
    """

    value: float
    below: int


def kth_lowest(stream: Callable[[], Iterable[Tensor]], k: int) -> KthValue:
    """Find the k-th lowest value over all tensors of a stream.

    Args:
        stream: called twice; each call yields the same float32 tensors, all finite.
        k: rank from 1 (the lowest) to the number of values.

    Returns:
        The value and how many lie strictly below it.
    """
    upper = _count(_upper(_ordered(tensor)) for tensor in stream())
    bucket, before = _locate(upper, k)

    def inside() -> Iterable[Tensor]:
        for tensor in stream():
            image = _ordered(tensor)
            yield image[_upper(image) == bucket] & (_BUCKETS - 1)

    lower = _count(inside())
    low, before_low = _locate(lower, k - before)
    return KthValue(_value(bucket, low), before + before_low)


def _ordered(tensor: Tensor) -> Tensor:
    # Adding 0.0 turns -0.0 into +0.0, so that the two zeros tie as they do in comparisons.
    bits = (tensor.reshape(-1).float() + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _upper(image: Tensor) -> Tensor:
    return (image >> 16) + (_BUCKETS >> 1)


def _count(parts: Iterable[Tensor]) -> Tensor:
    total = torch.zeros(_BUCKETS, dtype=torch.int64)
    for part in parts:
        total += torch.bincount(part, minlength=_BUCKETS).cpu()
    return total


def _locate(counts: Tensor, k: int) -> tuple[int, int]:
    """The bucket that holds rank k, and how many values lie in the buckets before it."""
    running = counts.cumsum(0)
    bucket = int(torch.searchsorted(running, torch.tensor(k)))
    return bucket, int(running[bucket] - counts[bucket])


def _value(upper: int, lower: int) -> float:
    image = torch.tensor(((upper - (_BUCKETS >> 1)) << 16) | lower, dtype=torch.int32)
    bits = image ^ ((image >> 31) & 0x7FFFFFFF)
    return float(bits.view(torch.float32))
