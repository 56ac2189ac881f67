"""Blocks on the host: the same numbers as with the whole model on the device, bit for bit."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.metric import Metric
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import HostedBlocks, hosted_blocks
from pruner_zero.model.hosted_weights import HostedWeights, dense_weights
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import prune_masks
from pruner_zero.model.packed import pack, unpack
from pruner_zero.model.perplexity import negative_log_likelihoods
from pruner_zero.model.prune import prune
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import measure_statistics

from .conftest import tiny_llama
from .test_families import FAMILIES, build

CPU = torch.device("cpu")


def weights(model):
    return [layer.weight.detach().clone() for layer in prunable_layers(model)]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("count", [1, 8, 37])
def test_bits_round_trip(count):
    mask = torch.rand(count, 3, generator=torch.Generator().manual_seed(count)) < 0.5
    packed = pack(mask)
    assert packed.shape == ((count * 3 + 7) // 8,)
    assert packed.dtype == torch.uint8
    assert unpack(packed, (count, 3), CPU).equal(mask)


@pytest.mark.parametrize("family", FAMILIES)
def test_perplexity_is_that_of_the_resident_model(family, ids):
    model, _ = build(family)
    # Windows of 5, 5 and 2 tokens: two lengths, each learnt once.
    expected, _ = negative_log_likelihoods(model, ids, window=5)
    with torch.no_grad():
        logits = model(ids).logits
    HostedBlocks(model, CPU)
    assert negative_log_likelihoods(model, ids, window=5)[0].equal(expected)
    with torch.no_grad():
        assert model(ids).logits.equal(logits)


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt-projected", "gpt-neox-tied"])
@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "pruner-zero"])
@pytest.mark.parametrize("mode", ["sequential", "one_shot"])
def test_pruning_in_place_reaches_the_host(family, method, mode, ids):
    reference, _ = build(family)
    model, _ = build(family)
    HostedBlocks(model, CPU)
    update = "obs" if method == "wanda" else "none"
    for one in (reference, model):
        report = prune(one, method, "2:4", calibration=ids, mode=mode, update=update)
        assert report.sparsity == 0.5
    assert equal(weights(model), weights(reference))


@pytest.mark.parametrize(
    "pattern",
    [*(Unstructured(0.47, scope) for scope in ("row", "layer", "block", "model")), NofM(2, 4)],
)
def test_masks_lie_over_the_visitors_and_the_host_stays_dense(pattern, ids):
    metric = Metric.named("gblm")
    resident, model = tiny_llama(), tiny_llama()
    statistics = measure_statistics(resident, ids)
    before = weights(model)
    HostedBlocks(model, CPU)
    values = []
    for one in (resident, model):
        layers = prunable_layers(one)
        dense = dense_weights(one, layers)
        assert isinstance(dense, HostedWeights) == (one is model)
        score = scorer(metric, statistics, dense)
        with dense.pruned(prune_masks(layers, score, pattern)):
            values.append(negative_log_likelihoods(one, ids)[0].tolist())
            if one is model:
                assert equal(weights(model), before)
    assert values[0] == values[1]
    assert negative_log_likelihoods(model, ids)[0].equal(negative_log_likelihoods(resident, ids)[0])


def test_one_block_at_a_time_is_away_from_the_host(tiny, ids):
    head = CausalHead.of(tiny)
    hosts = {id(p): p.data_ptr() for p in tiny.model.layers.parameters()}
    hosted = HostedBlocks(tiny, CPU)
    assert hosted_blocks(tiny) is hosted
    order: list[tuple[int, ...]] = []

    def look(module, args):
        moved = [
            index
            for index, block in enumerate(tiny.model.layers)
            if any(p.data_ptr() != hosts[id(p)] for p in block.parameters())
        ]
        order.append(tuple(moved))

    for block in tiny.model.layers:
        block.mlp.register_forward_pre_hook(look)
    hosted.chain = None
    negative_log_likelihoods(tiny, ids, head=head)
    learning = [(0,), (1,)] * 2
    assert order == learning + [(0,)] * 3 + [(1,)] * 3
    order.clear()
    negative_log_likelihoods(tiny, ids, head=head)
    assert order == [(0,)] * 3 + [(1,)] * 3  # what the blocks are called with was learnt
    assert all(p.data_ptr() == hosts[id(p)] for p in tiny.model.layers.parameters())


def test_the_host_is_whole_again_after_an_error(tiny, ids, monkeypatch):
    before = weights(tiny)
    hosted = HostedBlocks(tiny, CPU)

    def broken(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tiny.model.layers[1].mlp), "forward", broken)
    with pytest.raises(KeyboardInterrupt):
        negative_log_likelihoods(tiny, ids, head=CausalHead(tiny, tiny.model, tiny.lm_head))
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError), hosted.visit(0, keep=True):
        tiny.model.layers[0].mlp.up_proj.weight.data.zero_()
        raise ZeroDivisionError
    assert equal(weights(tiny), before)


@pytest.mark.parametrize("hosted", [False, True])
def test_lent_weights_come_back(hosted, tiny, ids):
    before = weights(tiny)
    if hosted:
        HostedBlocks(tiny, CPU)
    with dense_weights(tiny, prunable_layers(tiny)).lent():
        prune(tiny, "sparsegpt", 0.5, calibration=ids)
        assert not equal(weights(tiny), before)
    assert equal(weights(tiny), before)


def test_an_uncut_head_still_runs(tiny, ids):
    head = CausalHead(tiny, None, tiny.lm_head)
    expected = negative_log_likelihoods(tiny, ids, head=head)[0]
    HostedBlocks(tiny, CPU)
    assert negative_log_likelihoods(tiny, ids, head=head)[0].equal(expected)


def test_the_copy_of_a_resident_model_is_one_of_its_weights(tiny):
    assert type(dense_weights(tiny, prunable_layers(tiny))) is DenseWeights


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(ids):
    expected = negative_log_likelihoods(tiny_llama(), ids)[0]
    model = tiny_llama()
    HostedBlocks(model, torch.device("cuda"))
    assert torch.allclose(negative_log_likelihoods(model, ids)[0], expected, rtol=1e-4)
    weight = model.model.layers[0].mlp.up_proj.weight
    assert weight.device.type == "cpu" and weight.is_pinned()
    prune(model, "wanda", "2:4", calibration=ids)
    assert (weight == 0).float().mean() == 0.5
