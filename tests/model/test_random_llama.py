from __future__ import annotations

import pytest
import torch

from pruner_zero.model import random_llama
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.loading import load_model
from pruner_zero.model.memory import Shapes, Workload, predict
from pruner_zero.model.random_llama import fill_randomly, llama_skeleton

from .live_bytes import LiveBytes

NAME = "random-llama-1b"


@pytest.fixture
def small(monkeypatch):
    """The shapes of the name, made tiny."""
    monkeypatch.setitem(random_llama._SHAPES, NAME, (32, 64, 3, 4, 2, 128))


@pytest.mark.parametrize(
    ("name", "parameters"),
    # As published for TinyLlama-1.1B, LLaMA-2-7B and LLaMA-2-70B.
    [
        (NAME, 1_100_048_384),
        ("random-llama-7b", 6_738_415_616),
        ("random-llama-70b", 68_976_648_192),
    ],
)
def test_shapes_are_the_published_ones(name, parameters):
    model, tokenizer = llama_skeleton(name, torch.bfloat16)
    assert model.num_parameters() == parameters
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert len(tokenizer("abc")["input_ids"]) == 3


def test_weights_are_made_in_place_and_always_the_same(small):
    state = torch.random.get_rng_state()
    models = []
    for _ in range(2):
        model, _ = llama_skeleton(NAME, torch.bfloat16)
        with LiveBytes() as live:
            fill_randomly(model, torch.device("cpu"))
        bytes_ = sum(p.numel() * p.element_size() for p in model.parameters())
        assert live.peak < 1.05 * bytes_  # no copy in another dtype; rotary frequencies are a few
        models.append(model)
    assert torch.equal(state, torch.random.get_rng_state())
    for one, two in zip(*(model.parameters() for model in models), strict=True):
        assert one.equal(two)
    weight = models[0].model.layers[0].mlp.up_proj.weight.detach().float()
    assert float(weight.std()) == pytest.approx(0.02, rel=0.1)
    assert models[0].model.norm.weight.eq(1).all()


def test_positions_are_those_of_the_library(small):
    model, _ = llama_skeleton(NAME, torch.float32)
    fill_randomly(model, torch.device("cpu"))
    ordinary = type(model)(model.config).eval()
    ordinary.load_state_dict(model.state_dict())
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        assert model.eval()(ids).logits.equal(ordinary(ids).logits)


@pytest.mark.parametrize("memory", ["resident", "blockwise"])
def test_loading(small, memory):
    lines: list[str] = []
    model, _ = load_model(NAME, "bfloat16", "cpu", announce=lines.append, memory=memory,
                          work=Workload(window=64))  # fmt: skip
    assert (hosted_blocks(model) is not None) == (memory == "blockwise")
    assert lines[0].startswith(f"memory={memory}: predicted peak ")
    assert not any(p.requires_grad or p.device.type == "meta" for p in model.parameters())


def test_large_models_are_predicted_to_fit_one_device_block_by_block():
    # 341 k tokens of WikiText-2 in windows of 2048.
    work = Workload(2048, 166, 8, 2048, 128, frozenset("GX"))
    needs = {}
    for name in ("random-llama-7b", "random-llama-70b"):
        shapes = Shapes.of(llama_skeleton(name, torch.bfloat16)[0])
        needs[name] = [predict(shapes, work, m, 8192).device for m in ("resident", "blockwise")]
    resident, blockwise = needs["random-llama-7b"]
    assert resident > 50e9 and blockwise < 16e9 / 1.1
    resident, blockwise = needs["random-llama-70b"]
    assert resident > 500e9 and blockwise < 80e9 / 1.1
