"""Selection on CUDA in one pass per layer: Triton kernels that give the masks of `selection`.

A float32 maps to an integer with the same order. One program per row loads the row once, finds the
k-th lowest integer bit by bit by counting (no sort), and marks what lies below it and the first of
the ties. For N:M every weight counts the members of its group that come before it.

The torch functions in `selection` are the reference. `kernels_agree` compares the two on the
device before the kernels are used there; without Triton, or if they fail or differ, torch does the
work, and a warning says why.
"""

from __future__ import annotations

import subprocess
import warnings
from functools import lru_cache

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.errors import TritonError
except ImportError:  # Triton is for Linux alone
    triton = None
    TritonError = RuntimeError

WIDEST_ROW = 32768
"""Longer rows do not fit one program; torch selects there."""
_LARGEST_GROUP = 16
_GROUPS = 64

if triton is not None:

    @triton.jit
    def _ordered(scores):
        # The bits of -0.0 alone become those of +0.0, so that the zeros tie; other negative floats
        # descend as integers, so they are flipped.
        bits = scores.to(tl.int32, bitcast=True)
        bits = tl.where(scores == 0.0, 0, bits)
        return bits ^ ((bits >> 31) & 0x7FFFFFFF)

    @triton.jit
    def _row_kernel(scores, mask, width, k, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        columns = tl.arange(0, BLOCK)
        inside = columns < width
        values = _ordered(tl.load(scores + row * width + columns, mask=inside, other=0.0))
        # As unsigned integers: the k-th lowest is built from its highest bit down.
        keys = values.to(tl.uint32, bitcast=True) ^ 0x80000000
        low = tl.full((), 0, tl.uint32)
        bit = tl.full((), 0x80000000, tl.uint32)
        for _ in range(32):
            # With fewer than k values below low + bit, the k-th lies there or above.
            below = tl.sum(((keys < low + bit) & inside).to(tl.int32), axis=0)
            low = tl.where(below < k, low + bit, low)
            bit = bit >> 1
        lower = (keys < low) & inside
        tied = (keys == low) & inside
        places = k - tl.sum(lower.to(tl.int32), axis=0)
        first = tl.cumsum(tied.to(tl.int32), axis=0) <= places
        tl.store(mask + row * width + columns, (lower | (tied & first)).to(tl.int8), mask=inside)

    @triton.jit
    def _group_kernel(
        scores,
        mask,
        groups,
        n,
        M: tl.constexpr,
        GROUPS: tl.constexpr,
    ):
        group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
        lane = tl.arange(0, M)
        place = group[:, None] * M + lane[None, :]
        inside = (group < groups)[:, None] & (lane < M)[None, :]
        keys = _ordered(tl.load(scores + place, mask=inside, other=0.0))
        mine, theirs = keys[:, :, None], keys[:, None, :]
        before = (theirs < mine) | ((theirs == mine) & (lane[None, None, :] < lane[None, :, None]))
        rank = tl.sum(before.to(tl.int32), axis=2)
        tl.store(mask + place, (rank < n).to(tl.int8), mask=inside)


def triton_row_mask(scores: Tensor, k: int) -> Tensor:
    """Mark the ``k`` lowest of every row; see ``selection.row_mask``.

    Args:
        scores: [out, in] float32, finite, at most ``WIDEST_ROW`` wide.
        k: weights pruned per row, 1 … in − 1.
    """
    scores = scores.contiguous()
    rows, width = scores.shape
    mask = torch.empty_like(scores, dtype=torch.int8)
    block = triton.next_power_of_2(width)
    warps = min(16, max(4, block // 1024))  # a row stays in the registers of its program
    _row_kernel[(rows,)](scores, mask, width, k, BLOCK=block, num_warps=warps)
    return mask.view(torch.bool)


def triton_nofm_mask(scores: Tensor, n: int, m: int) -> Tensor:
    """Mark the ``n`` lowest of every group of ``m``; see ``selection.nofm_mask``.

    Args:
        scores: [out, in] float32, finite; ``m`` divides ``in``.
        n: weights pruned per group.
        m: weights per group, a power of two, at most 16.
    """
    scores = scores.contiguous()
    groups = scores.numel() // m
    mask = torch.empty_like(scores, dtype=torch.int8)
    grid = (triton.cdiv(groups, _GROUPS),)
    _group_kernel[grid](scores, mask, groups, n, M=m, GROUPS=_GROUPS)
    return mask.view(torch.bool)


def takes_rows(scores: Tensor) -> bool:
    """Whether the kernel is to select in these rows."""
    return scores.is_cuda and scores.shape[1] <= WIDEST_ROW and kernels_agree(scores.device)


def takes_groups(scores: Tensor, m: int) -> bool:
    """Whether the kernel is to select in groups of ``m``."""
    fits = m <= _LARGEST_GROUP and m & (m - 1) == 0
    return scores.is_cuda and fits and kernels_agree(scores.device)


@lru_cache(maxsize=8)
def kernels_agree(device: torch.device) -> bool:
    """Whether the kernels run on a device and give the masks of torch, bit for bit, on a sample.

    Where they do not, a ``RuntimeWarning`` says why, once per device.

    Args:
        device: a CUDA device (or the CPU, under Triton's interpreter).

    Raises:
        torch.OutOfMemoryError: the device is full, which says nothing about the kernels.
        torch.AcceleratorError: the device is lost.
    """
    reason = _disagreement(device)
    if reason:
        text = f"torch selects on {device}, as exactly but slower, because {reason}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return not reason


def _disagreement(device: torch.device) -> str:
    """Why the kernels cannot be used on a device; empty if they can."""
    if triton is None:
        return "Triton is not installed"
    from pruner_zero.model.selection import torch_nofm_mask, torch_row_mask

    generator = torch.Generator().manual_seed(0)
    many_ties = torch.randint(-3, 4, (16, 96), generator=generator).float()
    few_ties = torch.randn(16, 96, generator=generator)
    vanishing = few_ties * 2.0**-135  # subnormal numbers, which a device might flush to zero
    sample = torch.cat([many_ties, -0.0 * many_ties, few_ties, vanishing]).to(device)
    ranks = (1, 48, 95)
    expected = [*(torch_row_mask(sample, k) for k in ranks), torch_nofm_mask(sample, 2, 4)]
    try:
        found = [*(triton_row_mask(sample, k) for k in ranks), triton_nofm_mask(sample, 2, 4)]
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except (TritonError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        # A kernel that does not compile or fit; no C compiler or no driver, which Triton reports
        # as a bare RuntimeError; a C compiler that fails; a cache folder that cannot be written.
        first = (str(error).strip().splitlines() or ["no message"])[0]
        return f"the Triton kernels failed ({type(error).__name__}: {first})"
    if all(map(torch.equal, found, expected)):
        return ""
    return "the Triton kernels gave other masks than torch"
