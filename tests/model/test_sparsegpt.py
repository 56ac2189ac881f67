from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.model.selection import nofm_mask, row_mask
from pruner_zero.model.sparsegpt import (
    Hessian,
    InverseHessian,
    inverse_factor,
    mended,
    reconstruct,
    sparsegpt,
)
from pruner_zero.model.sparsity import NofM, Unstructured


def problem(rows=6, columns=24, tokens=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator)
    inputs = torch.randn(tokens, columns, generator=generator) @ mix
    weight = torch.randn(rows, columns, generator=generator)
    hessian = Hessian(columns)
    for part in inputs.split(50):
        hessian.add(part)
    return weight, inputs, hessian.matrix()


def error(weight, pruned, inputs):
    return float(((inputs @ (pruned - weight).t()) ** 2).sum())


def test_hessian_by_hand():
    hessian = Hessian(2)
    hessian.add(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    hessian.add(torch.tensor([[5.0, 6.0]]))
    # (2/2) · (1·1+3·3+5·5, 1·2+3·4+5·6; ·, 2·2+4·4+6·6)
    assert torch.allclose(hessian.matrix(), torch.tensor([[35.0, 44.0], [44.0, 56.0]]))


def test_inverse_factor_is_the_factor_of_the_damped_inverse():
    _, _, hessian = problem()
    upper = inverse_factor(hessian)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(24)
    assert torch.allclose(upper.t() @ upper @ damped, torch.eye(24), atol=1e-2)
    assert not upper.tril(-1).any()


def test_one_pruned_weight_by_hand():
    # With one weight pruned in the first column the remaining ones become the damped least squares
    # solution, which the normal equations give directly.
    weight, _, hessian = problem(rows=1, columns=4)
    mask = torch.tensor([[True, False, False, False]])
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(4)
    expected = weight.clone()
    expected[0, 0] = 0
    expected[0, 1:] += torch.linalg.solve(damped[1:, 1:], damped[1:, 0] * weight[0, 0])
    assert torch.allclose(reconstruct(weight, hessian, mask), expected, atol=1e-3)


def test_update_keeps_the_mask_and_lowers_the_error():
    weight, inputs, hessian = problem()
    mask = row_mask(weight.abs(), 12)
    updated = reconstruct(weight, hessian, mask)
    assert not updated[mask].any()
    assert error(weight, updated, inputs) < error(weight, weight.masked_fill(mask, 0), inputs)


@pytest.mark.parametrize("columns", [5, 16, 128, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_faster_update_differs_in_the_last_bits_alone(columns, dtype):
    weight, _, hessian = problem(columns=columns, tokens=1000)
    weight = weight.to(dtype)
    hessian[:, 3] = hessian[3, :] = 0
    before = weight.clone()
    mask = row_mask(weight.abs().float(), columns // 2)
    expected = reconstruct(weight, hessian, mask)
    updated = mended(weight, InverseHessian.of(hessian), mask)
    assert torch.allclose(updated, expected, rtol=1e-4, atol=1e-5)
    assert not updated[mask].any() and not updated[:, 3].any()
    assert updated.shape == weight.shape and updated.dtype == torch.float32
    assert weight.equal(before)


def test_the_sweep_is_the_originals_bit_for_bit():
    """SparseGPT's loop as it was published, with a mask that is given."""
    weight, _, hessian = problem(rows=40, columns=300, tokens=1000)
    mask = nofm_mask(weight.abs(), 2, 4)
    upper = inverse_factor(hessian)
    expected = weight.clone()
    for i1 in range(0, 300, 128):
        i2 = min(i1 + 128, 300)
        block = expected[:, i1:i2].clone()
        result, errors = torch.zeros_like(block), torch.zeros_like(block)
        local = upper[i1:i2, i1:i2]
        for i in range(i2 - i1):
            column = block[:, i]
            kept = column.clone()
            kept[mask[:, i1 + i]] = 0
            result[:, i] = kept
            error = (column - kept) / local[i, i]
            block[:, i:] -= error.unsqueeze(1).matmul(local[i, i:].unsqueeze(0))
            errors[:, i] = error
        expected[:, i1:i2] = result
        expected[:, i2:] -= errors.matmul(upper[i1:i2, i2:])
    assert reconstruct(weight, hessian, mask).equal(expected)


def test_diagonal_hessian_leaves_the_other_weights_alone():
    weight, _, _ = problem()
    mask = nofm_mask(weight.abs(), 2, 4)
    updated = reconstruct(weight, torch.eye(24), mask)
    assert torch.allclose(updated, weight.masked_fill(mask, 0), atol=1e-6)
    # Then the saliency is w² up to a factor: SparseGPT's choice is magnitude's.
    assert (sparsegpt(weight, torch.eye(24), NofM(2, 4)) == 0).equal(mask)


@pytest.mark.parametrize("columns", [24, 128, 300])
def test_the_original_threshold_rule_per_block_of_128_columns(columns):
    # By `<=` against the value at that index: one more than the share.
    weight, _, hessian = problem(columns=columns, tokens=400)
    zeros = sparsegpt(weight, hessian, Unstructured(0.55)) == 0
    for block in zeros.split(128, dim=1):
        assert int(block.sum()) == int(block.numel() * 0.55) + 1


@pytest.mark.parametrize("pattern", [NofM(2, 4), NofM(4, 8), NofM(1, 3), NofM(100, 150)])
def test_exact_counts_per_group(pattern):
    weight, _, hessian = problem(columns=pattern.m * 3, tokens=1000)
    zeros = sparsegpt(weight, hessian, pattern) == 0
    assert (zeros.reshape(-1, pattern.m).sum(dim=1) == pattern.n).all()


def test_sparsegpt_beats_magnitude_without_update():
    weight, inputs, hessian = problem()
    plain = weight.masked_fill(row_mask(weight.abs(), 12), 0)
    pruned = sparsegpt(weight, hessian, Unstructured(0.5))
    assert error(weight, pruned, inputs) < error(weight, plain, inputs)


def test_dead_inputs_are_zeroed_and_do_no_harm():
    weight, _, hessian = problem()
    hessian[:, 3] = hessian[3, :] = 0
    pruned = sparsegpt(weight, hessian, Unstructured(0.25))
    assert not pruned[:, 3].any()
    assert pruned.isfinite().all()


def test_damping_is_raised_once_then_the_layer_is_named():
    # One eigenvalue of −0.05 · mean(diag): 1 % damping fails, 10 % is enough.
    hessian = torch.eye(4)
    hessian[0, 1] = hessian[1, 0] = 1.05
    assert inverse_factor(hessian).isfinite().all()
    hessian[0, 1] = hessian[1, 0] = 1.5
    with pytest.raises(UserError, match=r"Hessian of blocks\.3\.fc.*10% damping"):
        inverse_factor(hessian, "blocks.3.fc")
    with pytest.raises(UserError, match="not finite"):
        sparsegpt(torch.ones(2, 4), torch.full((4, 4), torch.nan), Unstructured(0.5))


def test_the_arguments_are_left_alone():
    weight, _, hessian = problem()
    before, h = weight.clone(), hessian.clone()
    sparsegpt(weight, hessian, Unstructured(0.5))
    sparsegpt(weight.t().contiguous().t(), hessian, NofM(2, 4))
    assert weight.equal(before)
    assert hessian.equal(h)
