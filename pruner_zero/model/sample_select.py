"""The exact k-th lowest of many values on a GPU, where a sample shows where to look.

An evenly spaced sample brackets the rank, one pass counts what lies below the bracket, and only
what lies inside is sorted (after Floyd and Rivest, "Expected time bounds for selection",
Communications of the ACM 18(3), 1975). A bracket that misses the rank is widened.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SAMPLE = 1 << 18


def kth_by_sample(values: Tensor, k: int, sample: int = _SAMPLE) -> Tensor:
    """Find the k-th lowest value.

    Args:
        values: [n] float32, finite.
        k: rank, 1 … n.
        sample: how many values show where to look.

    Returns:
        The value, a tensor without dimensions on the values' device.
    """
    count = len(values)
    shown = values[:: max(1, count // sample)].sort().values
    place = (k - 1) * len(shown) // count
    margin = 4 * int(len(shown) ** 0.5) + 1  # eight standard deviations of a random sample's rank
    while True:
        first, last = place - margin, place + margin
        inside = torch.ones_like(values, dtype=torch.bool)
        below = torch.zeros((), dtype=torch.int64, device=values.device)
        if first >= 0:
            lower = values < shown[first]
            below = torch.count_nonzero(lower)
            inside = ~lower
        if last < len(shown):
            inside &= values <= shown[last]
        rank = k - int(below)
        held = values[inside]
        if 1 <= rank <= len(held):
            return held.sort().values[rank - 1]
        margin *= 16
