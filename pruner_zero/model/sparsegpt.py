"""SparseGPT's mathematics (arXiv:2301.00774): prune a layer column by column, mend the rest.

Pruning weight (r, j) leaves an error; the optimal brain surgeon spreads it over the columns not yet
visited so that the layer's output on the calibration inputs changes least. The same update repairs
any given mask. Tensors in, tensors out; no model here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pruner_zero.errors import UserError
from pruner_zero.model.selection import flat_threshold, nofm_mask
from pruner_zero.model.sparsity import NofM, SparsityPattern

_COLUMNS = 128
_STEP = 16
_DAMPING = 0.01
_MORE_DAMPING = 0.1
Choose = Callable[[Tensor, slice], Tensor]
"""Which of some columns' weights go, bool [out, columns]; what it is given is the caller's say."""


class NotInvertible(UserError):
    """A Hessian that cannot be inverted."""


class Hessian:
    """``H = (2/N) Σ x xᵀ`` over the input vectors of all tokens of N sequences.

    Args:
        width: number of inputs of the layer.
        device: where it is accumulated, in float32.
    """

    def __init__(self, width: int, device: torch.device | str = "cpu") -> None:
        self._mean = torch.zeros(width, width, dtype=torch.float32, device=device)
        self._sequences = 0

    def add(self, inputs: Tensor) -> None:
        """Fold in one sequence's inputs, [tokens, width] float32."""
        # The running mean of the original, operation by operation: see ``_sweep``.
        self._mean *= self._sequences / (self._sequences + 1)
        self._sequences += 1
        scaled = math.sqrt(2 / self._sequences) * inputs.t()
        self._mean += scaled.matmul(scaled.t())

    def to(self, device: torch.device | str) -> None:
        """Go on accumulating on another device."""
        self._mean = self._mean.to(device)

    def matrix(self) -> Tensor:
        """Return H of the sequences so far, [width, width] float32."""
        return self._mean


@dataclass(frozen=True)
class InverseHessian:
    """What a sweep needs of a layer's Hessian; it serves any number of masks.

    Attributes:
        upper: the factor U of `inverse_factor`, [in, in] float32.
        dead: bool [in], True for inputs that never fire.
    """

    upper: Tensor
    dead: Tensor

    @property
    def scale(self) -> Tensor:
        """What `saliency_scale` gives, [1, in] float32."""
        return self.upper.diagonal().square().unsqueeze(0)

    @classmethod
    def of(cls, hessian: Tensor, name: str = "the layer") -> InverseHessian:
        """Factorise the damped inverse.

        Args:
            hessian: [in, in] float32.
            name: the layer, for messages.

        Raises:
            UserError: the Hessian cannot be inverted even with ten times the damping.
        """
        return cls(inverse_factor(_revived(hessian), name), hessian.diagonal() == 0)


def sparsegpt(
    weight: Tensor, hessian: Tensor, pattern: SparsityPattern, name: str = "the layer"
) -> Tensor:
    """Prune a layer with SparseGPT's own choice of weights.

    The saliency of a weight is ``w² / diag(U)²``, U the upper Cholesky factor of H⁻¹. With a ratio,
    each block of 128 columns loses the weights whose saliency is ``<=`` the one at index
    ``int(size · ratio)`` of the sorted block, counted from 0: one weight more than the share, and
    whatever ties with it. That is the original rule, kept to the letter because every pruned
    weight moves all later columns and blocks. With N:M exactly n of every m columns of a row go,
    chosen when the sweep reaches them.

    Args:
        weight: [out, in].
        hessian: [in, in] float32.
        pattern: its ratio, or N:M; a scope is not looked at.
        name: the layer, for messages.

    Returns:
        The pruned and updated weight, [out, in] float32.

    Raises:
        UserError: the Hessian cannot be inverted even with ten times the damping.
    """
    inverse = InverseHessian.of(hessian, name)
    if isinstance(pattern, NofM):
        return _sweep(weight, inverse, groups=pattern)

    def lowest(saliency: Tensor, columns: slice) -> Tensor:
        del columns
        return saliency <= flat_threshold(saliency, int(saliency.numel() * pattern.ratio) + 1)

    return _sweep(weight, inverse, choose=lowest)


def reconstruct(weight: Tensor, hessian: Tensor, mask: Tensor, name: str = "the layer") -> Tensor:
    """Prune a layer by a given mask and update the remaining weights (the OBS update).

    Args:
        weight: [out, in].
        hessian: [in, in] float32.
        mask: bool [out, in], True where pruned.
        name: the layer, for messages.

    Returns:
        The pruned and updated weight, [out, in] float32, zero wherever the mask is True.

    Raises:
        UserError: the Hessian cannot be inverted even with ten times the damping.
    """
    inverse = InverseHessian.of(hessian, name)
    return _sweep(weight, inverse, choose=lambda saliency, columns: mask[:, columns])


@torch.no_grad()
def mended(weight: Tensor, inverse: InverseHessian, mask: Tensor) -> Tensor:
    """As `reconstruct`, but for rounding, in less time and with a Hessian that is inverted already.

    The result differs from the original's in the last bits, which nothing downstream depends on
    when the Hessians are the dense model's.

    Args:
        weight: [out, in].
        inverse: of the layer's Hessian.
        mask: bool [out, in], True where pruned.

    Returns:
        The pruned and updated weight, [out, in] float32, zero wherever the mask is True.
    """
    return swept(weight, inverse, lambda _, columns: mask[:, columns])[0]


@torch.no_grad()
def swept(
    weight: Tensor, inverse: InverseHessian, choose: Choose, group: int = 1, often: bool = False
) -> tuple[Tensor, Tensor]:
    """Go through the columns from left to right and ask, as they come, which weights go.

    The errors of 16 columns are paid together by the rest of their block of 128, and those of a
    block by the columns after it.

    Args:
        weight: [out, in].
        inverse: of the layer's Hessian.
        choose: given the weights as the sweep has left them, [out, in] float32 with zeros where
            they were pruned, and which columns are next: bool [out, columns], True where pruned.
        group: columns that are chosen together: M of N:M.
        often: ask for 16 columns at a time (rounded down to whole groups); else for a block, whose
            first columns have then no say in the choice of its last.

    Returns:
        The pruned and updated weight, [out, in] float32, and its mask, bool [out, in].
    """
    upper, count = inverse.upper, weight.shape[1]
    width, step = (max(1, size // group) * group for size in (_COLUMNS, _STEP))
    columns = torch.empty(weight.shape[::-1], dtype=torch.float32, device=weight.device)
    columns.copy_(weight.detach().t()).masked_fill_(inverse.dead.unsqueeze(1), 0)
    lost = torch.empty_like(columns, dtype=torch.bool)
    share, errors = torch.empty_like(columns), torch.empty_like(columns)
    for start in range(0, count, width):
        stop = min(start + width, count)
        for first in range(start, stop, step):
            end = min(first + step, stop)
            if often or first == start:
                asked = slice(first, end if often else stop)
                lost[asked] = choose(columns.t(), asked).t()
                torch.div(lost[asked], upper.diagonal()[asked].unsqueeze(1), out=share[asked])
            for i in range(first, end):
                error = torch.mul(columns[i], share[i], out=errors[i])
                columns[i + 1 : end].addcmul_(upper[i, i + 1 : end, None], error, value=-1)
            columns[first:end].masked_fill_(lost[first:end], 0)
            _pay(columns, errors, upper, slice(first, end), slice(end, stop))
        _pay(columns, errors, upper, slice(start, stop), slice(stop, count))
    return columns.t(), lost.t()


def _pay(columns: Tensor, errors: Tensor, upper: Tensor, done: slice, later: slice) -> None:
    columns[later].addmm_(upper[done, later].t(), errors[done], alpha=-1)


def saliency_scale(hessian: Tensor, name: str = "the layer") -> Tensor:
    """What divides ``w²`` in SparseGPT's saliency: ``diag(U)²``, U from `inverse_factor`.

    Entry j is the diagonal entry of the inverse of the damped Hessian of inputs j, j+1, …: the
    ones that can still make up for weight j when the sweep reaches it. Inputs that never fire
    count with a Hessian of 1, as in the sweep.

    Args:
        hessian: [in, in] float32.
        name: the layer, for messages.

    Returns:
        [1, in] float32, positive.

    Raises:
        UserError: the Hessian cannot be inverted even with ten times the damping.
    """
    return InverseHessian.of(hessian, name).scale


def inverse_factor(hessian: Tensor, name: str = "the layer") -> Tensor:
    """Upper Cholesky factor U of the damped inverse Hessian, ``UᵀU = (H + d·mean(diag H)·I)⁻¹``.

    Args:
        hessian: [in, in] float32, with no zero on its diagonal.
        name: the layer, for messages.

    Returns:
        U, [in, in] float32.

    Raises:
        UserError: it fails with d = 0.01 and with d = 0.1.
    """
    mean = torch.diag(hessian).mean()
    for damping in (_DAMPING, _MORE_DAMPING):
        damped = hessian.clone()
        damped.diagonal().add_(damping * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if bool(failed) or not bool(lower.isfinite().all()):
            continue
        inverse = torch.cholesky_inverse(lower)
        upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
        if not bool(failed) and bool(upper.isfinite().all()):
            return upper
    raise NotInvertible(
        f"the Hessian of {name} cannot be inverted, even with {_MORE_DAMPING:.0%} damping: its "
        "inputs are not finite or almost all alike; use more calibration sequences or float32"
    )


def _revived(hessian: Tensor) -> Tensor:
    """A copy with 1 on the diagonal for inputs that never fire."""
    hessian = hessian.clone()
    dead = hessian.diagonal() == 0
    hessian[dead, dead] = 1
    return hessian


@torch.no_grad()
def _sweep(
    weight: Tensor,
    inverse: InverseHessian,
    choose: Choose | None = None,
    groups: NofM | None = None,
) -> Tensor:
    """Go through the columns from left to right; each error is paid by the columns after it.

    The arithmetic follows the original operation by operation, so that on one machine the results
    are equal bit for bit. That matters: with little calibration text the sequential flow turns a
    last bit in one layer into other masks ten blocks later. Only the layout is another: inside a
    block of columns each column is contiguous.
    """
    weight = weight.detach().float().masked_fill(inverse.dead, 0)  # their weights do nothing
    upper = inverse.upper
    width = _COLUMNS if groups is None else max(1, _COLUMNS // groups.m) * groups.m
    for start in range(0, weight.shape[1], width):
        span = slice(start, min(start + width, weight.shape[1]))
        local = upper[span, span]
        scale = local.diagonal().reshape(1, -1) ** 2
        block = weight[:, span].t().contiguous()
        errors = torch.zeros_like(block)
        paid = torch.empty_like(block)
        pruned = torch.zeros_like(block)  # 1 where pruned
        if choose is not None:
            pruned.copy_(choose(weight[:, span] ** 2 / scale, span).t())
        for i in range(len(block)):
            if groups is not None and i % groups.m == 0:
                group = slice(i, i + groups.m)
                saliency = block[group].t() ** 2 / scale[:, group]
                pruned[group] = nofm_mask(saliency, groups.n, groups.m).t().to(pruned.dtype)
            error = torch.mul(block[i], pruned[i], out=errors[i]).div_(local[i, i])
            rest = slice(i + 1, None)
            block[rest] -= torch.mul(local[i, rest].unsqueeze(1), error, out=paid[rest])
        weight[:, span] = block.masked_fill_(pruned.bool(), 0).t()
        weight[:, span.stop :] -= errors.t().contiguous().matmul(upper[span, span.stop :])
    return weight
