"""2:4 tensors: what does not fit is said first; the conversion itself is tested on CUDA."""

from __future__ import annotations

import pytest
import torch

from pruner_zero import UserError, parse_sparsity
from pruner_zero.model import semi_structured
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.semi_structured import (
    accelerate,
    check_layers,
    check_pattern,
    tokens_per_second,
)

from .conftest import tiny_llama


@pytest.fixture
def wide():
    return tiny_llama(hidden_size=128, intermediate_size=256).to(torch.bfloat16)


@pytest.mark.parametrize(
    ("sparsity", "device", "message"),
    [
        ("0.5", "cuda", "needs sparsity=2:4, not 0.5"),
        ("4:8", "cuda", "needs sparsity=2:4, not 4:8"),
        ("2:4", "cpu", "needs a CUDA device, not cpu"),
        ("2:4", "cuda", "Old GPU has no sparse units"),
    ],
)
def test_what_does_not_fit_the_pattern_or_device(monkeypatch, sparsity, device, message):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    with pytest.raises(UserError, match=message):
        check_pattern(parse_sparsity(sparsity), torch.device(device))


def test_what_does_not_fit_the_layers(wide):
    check_layers(prunable_layers(wide))
    with pytest.raises(UserError, match=r"bfloat16 or float16: set model\.dtype"):
        check_layers(prunable_layers(wide.float()))
    narrow = tiny_llama(hidden_size=24, intermediate_size=128).to(torch.bfloat16)
    with pytest.raises(UserError, match=r"model.layers.0.self_attn.q_proj is 24 x 24, and PyTorch"):
        check_layers(prunable_layers(narrow))


def test_every_layer_is_converted_and_a_refusal_is_one_line(wide, monkeypatch):
    seen = []

    def convert(weight):
        seen.append(tuple(weight.shape))
        return 2 * weight

    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", convert)
    layers = prunable_layers(wide)
    before = [layer.weight.clone() for layer in layers]
    accelerate(layers)
    assert seen == [layer.shape for layer in layers]
    assert all(torch.equal(a.weight, 2 * b) for a, b in zip(layers, before, strict=True))

    def refuse(weight):
        raise RuntimeError("not here\nat all")

    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", refuse)
    with pytest.raises(UserError, match=r"PyTorch cannot convert: not here$"):
        accelerate(layers)


def test_speed_counts_all_tokens_over_the_median_pass(wide, monkeypatch):
    # Two readings of the clock per pass: one of warm-up, then passes of 9, 2 and 1 seconds.
    clock = iter([0.0, 50.0, 0.0, 9.0, 0.0, 2.0, 0.0, 1.0])
    monkeypatch.setattr(semi_structured.time, "perf_counter", lambda: next(clock))
    ids = torch.zeros(3, 8, dtype=torch.int64)
    assert tokens_per_second(wide, ids, repeats=3, warm_up=1) == 12.0
