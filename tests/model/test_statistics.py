from __future__ import annotations

import math

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.model import statistics as statistics_module
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.statistics import measure_statistics

from .conftest import tiny_llama


def by_autograd(model, ids, scale=100.0):
    """G (l2 and l1) and per-sequence losses with nothing but HF's own loss and autograd."""
    layers = prunable_layers(model)
    squares = {layer.name: torch.zeros(layer.shape) for layer in layers}
    absolutes = {layer.name: torch.zeros(layer.shape) for layer in layers}
    losses = []
    for row in ids:
        model.zero_grad()
        loss = model(row[None], labels=row[None]).loss
        loss.backward()
        losses.append(float(loss.detach()))
        for layer in layers:
            squares[layer.name] += (scale * layer.weight.grad) ** 2
            absolutes[layer.name] += (scale * layer.weight.grad).abs()
    model.zero_grad(set_to_none=True)
    return {name: value.sqrt() for name, value in squares.items()}, absolutes, losses


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_and_losses_agree_with_autograd(ids, tied):
    model = tiny_llama(tie_word_embeddings=tied)
    l2, l1, losses = by_autograd(model, ids)
    statistics = measure_statistics(model, ids)
    for name, expected in l2.items():
        assert torch.allclose(statistics.G[name], expected, rtol=1e-4, atol=1e-6)
        assert statistics.G[name].dtype == torch.float32
    other = measure_statistics(model, ids, ["G"], norm="l1")
    for name, expected in l1.items():
        assert torch.allclose(other.G[name], expected, rtol=1e-4, atol=1e-6)
    assert not other.X
    assert statistics.losses.tolist() == pytest.approx(losses, rel=1e-5)
    assert statistics.dense_perplexity == pytest.approx(perplexity(model, ids), rel=1e-5)
    assert statistics.terminals() == {"W", "D", "G", "X"}


def test_activation_norms_by_hand(tiny, ids):
    seen: list[torch.Tensor] = []
    target = tiny.model.layers[1].mlp.down_proj
    handle = target.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    with torch.no_grad():
        for row in ids:
            tiny(row[None])
    handle.remove()
    expected = sum((x[0] ** 2).sum(dim=0) for x in seen) / len(ids)
    statistics = measure_statistics(tiny, ids, ["X"])
    got = statistics.X["model.layers.1.mlp.down_proj"]
    assert got.shape == (1, 24)
    assert torch.allclose(got[0], expected, rtol=1e-5)
    assert not statistics.G
    assert statistics.terminals() == {"W", "D", "X"}


def test_chunked_head_changes_nothing(tiny, ids, monkeypatch):
    whole = measure_statistics(tiny, ids)
    monkeypatch.setattr("pruner_zero.model.head.CausalHead.chunk_tokens", lambda self: 3)
    pieces = measure_statistics(tiny, ids)
    for name, value in whole.G.items():
        assert torch.allclose(value, pieces.G[name], rtol=1e-4, atol=1e-6)


def test_measuring_twice_gives_the_same_bits(tiny, ids):
    first, second = (measure_statistics(tiny, ids) for _ in range(2))
    assert all(first.G[name].equal(second.G[name]) for name in first.G)
    assert all(first.X[name].equal(second.X[name]) for name in first.X)


def test_the_model_is_left_as_it_was_even_after_an_exception(tiny, ids):
    tiny.train()
    tiny.model.layers[0].eval()
    tiny.model.norm.weight.requires_grad_(False)
    mark = torch.ones_like(tiny.lm_head.weight)
    tiny.lm_head.weight.grad = mark
    modes = [module.training for module in tiny.modules()]
    flags = [parameter.requires_grad for parameter in tiny.parameters()]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_statistics(tiny, ids, progress=stop)
    assert [module.training for module in tiny.modules()] == modes
    assert [parameter.requires_grad for parameter in tiny.parameters()] == flags
    assert tiny.lm_head.weight.grad is mark
    for layer in prunable_layers(tiny):
        assert layer.weight.grad is None
        assert not layer.module._forward_pre_hooks
        assert not layer.weight._post_accumulate_grad_hooks


def test_progress_counts_sequences(tiny, ids):
    calls: list[tuple[int, int]] = []
    measure_statistics(tiny, ids, ["X"], progress=lambda *at: calls.append(at))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_bad_ids_are_refused_early(tiny):
    with pytest.raises(UserError, match="longer than the model's 64 positions"):
        measure_statistics(tiny, torch.zeros(1, 65, dtype=torch.long))
    with pytest.raises(UserError, match="shape"):
        measure_statistics(tiny, torch.zeros(5, dtype=torch.long))
    with pytest.raises(UserError, match="outside the model's vocabulary of 61"):
        measure_statistics(tiny, torch.full((1, 5), 61))
    with pytest.raises(UserError, match="at least 2 tokens"):
        measure_statistics(tiny, torch.zeros(3, 1, dtype=torch.long))
    with pytest.raises(UserError, match="unknown gradient norm 'l3'"):
        measure_statistics(tiny, torch.zeros(1, 5, dtype=torch.long), norm="l3")


def test_half_precision_models_accumulate_in_float32(ids):
    model = tiny_llama().to(torch.bfloat16)
    statistics = measure_statistics(model, ids)
    exact = measure_statistics(tiny_llama(), ids)
    assert all(value.dtype == torch.float32 for value in statistics.G.values())
    name = "model.layers.0.self_attn.q_proj"
    assert (
        torch.corrcoef(torch.stack([statistics.G[name].flatten(), exact.G[name].flatten()]))[0, 1]
        > 0.99
    )
    assert math.isfinite(statistics.dense_perplexity)


@pytest.fixture
def as_on_cuda(monkeypatch):
    """Measuring asks torch for repeatable operations, as it does where there is CUDA."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_on_cuda_backward_passes_are_asked_to_repeat(tiny, ids, monkeypatch, as_on_cuda):
    modes = []
    plain = statistics_module.sequence_loss

    def noted(*arguments):
        strict = torch.are_deterministic_algorithms_enabled()
        modes.append(strict and not torch.is_deterministic_algorithms_warn_only_enabled())
        return plain(*arguments)

    monkeypatch.setattr(statistics_module, "sequence_loss", noted)
    measure_statistics(tiny, ids, "X")
    assert modes == [False] * 3  # nothing to repeat without gradients
    modes.clear()
    measure_statistics(tiny, ids)
    assert modes == [True] * 3
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_model_that_cannot_repeat_is_measured_and_said(tiny, ids, monkeypatch, as_on_cuda):
    plain = statistics_module.sequence_loss

    def refused(*arguments):
        if torch.are_deterministic_algorithms_enabled():
            raise RuntimeError(
                "scatter does not have a deterministic implementation, but you set "
                "'torch.use_deterministic_algorithms(True)'."
            )
        return plain(*arguments)

    expected = measure_statistics(tiny, ids)
    monkeypatch.setattr(statistics_module, "sequence_loss", refused)
    said = "differ by rounding .* scatter does not have a deterministic implementation$"
    with pytest.warns(RuntimeWarning, match=said):
        found = measure_statistics(tiny, ids)
    assert all(value.equal(expected.G[name]) for name, value in found.G.items())


def test_other_errors_are_not_taken_for_that(tiny, ids, monkeypatch, as_on_cuda):
    def broken(*_arguments):
        raise RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED")

    monkeypatch.setattr(statistics_module, "sequence_loss", broken)
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        measure_statistics(tiny, ids)
