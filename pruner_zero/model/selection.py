"""Pure selection: exactly the k lowest scores of a row, a group or a tensor, ties by index.

Every function returns a boolean mask that is True where the weight is pruned. Equal scores go to
the lower index (``+0.0`` and ``-0.0`` are equal), which is the order of a stable ascending sort.
The k-th lowest value is found by selection, several times faster than sorting.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pruner_zero.model.sample_select import kth_by_sample
from pruner_zero.model.triton_selection import (
    WIDEST_ROW,
    takes_groups,
    takes_rows,
    triton_nofm_mask,
    triton_row_mask,
)

_SAMPLED = 1 << 23


def row_mask(scores: Tensor, k: int) -> Tensor:
    """Mark the ``k`` lowest scores of every row.

    Args:
        scores: [out, in] float32, finite.
        k: weights pruned per row, 0 … in.

    Returns:
        Bool mask [out, in] with exactly ``k`` marks in each row.
    """
    if k <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if k >= scores.shape[1]:
        return torch.ones_like(scores, dtype=torch.bool)
    return triton_row_mask(scores, k) if takes_rows(scores) else torch_row_mask(scores, k)


def torch_row_mask(scores: Tensor, k: int) -> Tensor:
    """`row_mask` by torch and numpy alone, for ``k`` from 1 to in − 1."""
    return _lowest(scores, _kth_per_row(scores, k), k)


def flat_mask(scores: Tensor, k: int) -> Tensor:
    """Mark the ``k`` lowest scores of a whole tensor; ties in row-major order.

    Args:
        scores: [out, in] float32, finite.
        k: weights pruned in all, 0 … out·in.

    Returns:
        Bool mask [out, in] with exactly ``k`` marks.
    """
    return row_mask(scores.reshape(1, -1), k).reshape(scores.shape)


def flat_threshold(scores: Tensor, k: int) -> float:
    """Return the ``k``-th lowest score of a whole tensor.

    Args:
        scores: float32, finite.
        k: rank, 1 … number of scores.

    Returns:
        The value; at least ``k`` scores are lower or equal.
    """
    return float(_kth_per_row(scores.reshape(1, -1), k))


def nofm_mask(scores: Tensor, n: int, m: int) -> Tensor:
    """Mark the ``n`` lowest scores of every ``m`` consecutive inputs of each row.

    Args:
        scores: [out, in] float32, finite; ``in`` is a multiple of ``m``.
        n: weights pruned per group.
        m: weights per group.

    Returns:
        Bool mask [out, in] with exactly ``n`` marks in each group.

    Raises:
        ValueError: ``m`` does not divide ``in`` (``NofM.check`` says it better, and earlier).
    """
    if scores.shape[-1] % m:
        raise ValueError(f"{m} does not divide the {scores.shape[-1]} inputs")
    if takes_groups(scores, m):
        return triton_nofm_mask(scores, n, m)
    return torch_nofm_mask(scores, n, m)


def torch_nofm_mask(scores: Tensor, n: int, m: int) -> Tensor:
    """`nofm_mask` by torch alone."""
    groups = scores.reshape(-1, m)
    return _lowest(groups, _nth_per_group(groups, n), n).reshape(scores.shape)


def _kth_per_row(scores: Tensor, k: int) -> Tensor:
    """The k-th lowest value of each row, [out, 1]."""
    if scores.device.type == "cpu":
        # numpy's vectorised quickselect takes 3 ms where torch.kthvalue takes 14 and a sort 28.
        partitioned = np.partition(scores.detach().numpy(), k - 1, axis=1)
        return torch.from_numpy(partitioned[:, k - 1 : k].copy())
    if scores.shape[1] <= WIDEST_ROW:
        return torch.kthvalue(scores, k, dim=1, keepdim=True).values
    # One program per row, as torch.kthvalue has, leaves a GPU idle.
    if scores.numel() >= _SAMPLED and len(scores) == 1:
        return kth_by_sample(scores[0], k).view(1, 1)
    above = scores.shape[1] - k + 1
    if k <= above:
        return scores.topk(k, dim=1, largest=False, sorted=False).values.amax(1, keepdim=True)
    return scores.topk(above, dim=1, sorted=False).values.amin(1, keepdim=True)


def _nth_per_group(groups: Tensor, n: int) -> Tensor:
    """The n-th lowest value of each group, [groups, 1], by min and max alone (no sort)."""
    lanes = list(groups.unbind(1))
    for low, high, keep_low, keep_high in _selection_network(groups.shape[1], n):
        smaller = torch.minimum(lanes[low], lanes[high]) if keep_low else lanes[low]
        if keep_high:
            lanes[high] = torch.maximum(lanes[low], lanes[high])
        lanes[low] = smaller
    return lanes[n - 1].unsqueeze(1)


@lru_cache(maxsize=64)
def _selection_network(m: int, n: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Batcher's odd-even merge sort of m lanes, cut down to what the n-th output needs.

    Returns:
        Comparators (low lane, high lane, is the minimum needed, is the maximum needed).
    """
    comparators = []
    p = 1
    while p < m:
        k = p
        while k >= 1:
            for start in range(k % p, m - k, 2 * k):
                for lane in range(start, min(start + k, m - k)):
                    if lane // (2 * p) == (lane + k) // (2 * p):
                        comparators.append((lane, lane + k))
            k //= 2
        p *= 2
    needed = {n - 1}
    kept = []
    for low, high in reversed(comparators):
        if low in needed or high in needed:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return tuple(reversed(kept))


def _lowest(scores: Tensor, threshold: Tensor, k: int) -> Tensor:
    """Mark the k lowest of each row, given the k-th lowest value of each row, [rows, 1]."""
    mask = scores <= threshold
    if int(torch.count_nonzero(mask)) == k * scores.shape[0]:
        return mask
    # Some rows have more scores at the threshold than places left: the first ones take them.
    rows = (mask.sum(dim=1) > k).nonzero().squeeze(1)
    some, limit = scores[rows], threshold[rows]
    below = some < limit
    tied = some == limit
    places = k - below.sum(dim=1, keepdim=True)
    mask[rows] = below | (tied & (tied.cumsum(dim=1, dtype=torch.int32) <= places))
    return mask
