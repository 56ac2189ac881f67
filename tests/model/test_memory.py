"""The predicted peak against counted bytes, on small shapes in which different parts dominate."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from pruner_zero.metric import Metric
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import HostedBlocks
from pruner_zero.model.hosted_weights import dense_weights
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import ScoreRoom, prune_masks
from pruner_zero.model.memory import Shapes, Workload, predict
from pruner_zero.model.obs_update import ObsUpdate
from pruner_zero.model.packed import kept
from pruner_zero.model.perplexity import negative_log_likelihoods
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import Statistics, measure_statistics

from .conftest import tiny_llama
from .live_bytes import LiveBytes

NARROW = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4}
WIDE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 6}
SQUARE = {"hidden_size": 96, "intermediate_size": 96, "num_hidden_layers": 3}

# name: (model, windows, tokens per window, vocabulary, metric)
REGIMES = {
    "activations": (NARROW, 2, 512, 97, "wanda"),
    "attention": (SQUARE, 2, 512, 97, "wanda"),
    "logits": (NARROW, 2, 64, 8000, "wanda"),
    "weights": (WIDE, 2, 16, 97, "magnitude"),
    "gradients": (WIDE, 3, 16, 97, "gradient"),
    "graph": (NARROW, 2, 512, 97, "gradient"),
    "windows": (NARROW, 24, 128, 97, "magnitude"),
}


@pytest.mark.parametrize("room_size", [0, 1])
@pytest.mark.parametrize("memory", ["resident", "blockwise"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("regime", REGIMES)
def test_prediction_bounds_the_counted_peak(regime, dtype, memory, room_size):
    fields, windows, length, vocabulary, name = REGIMES[regime]
    model = tiny_llama(vocab_size=vocabulary, max_position_embeddings=512, **fields).to(dtype)
    metric = Metric.named(name)
    ids = torch.randint(0, vocabulary, (windows, length))
    shapes = Shapes.of(model)
    head = CausalHead.of(model)
    terminals = metric.terminals - {"W"}
    room = ScoreRoom(room_size * 4 * shapes.prunable)
    work = Workload(
        window=length,
        windows=windows,
        length=length if terminals else 0,
        sequences=windows if terminals else 0,
        terminals=terminals,
        score_memory=room.limit,
    )
    if memory == "blockwise":
        HostedBlocks(model, torch.device("cpu"))
    layers = prunable_layers(model)
    with LiveBytes(*model.parameters()) as live:
        statistics = Statistics({})
        if terminals:
            statistics = measure_statistics(model, ids, terminals, checkpointing=False)
        dense = dense_weights(model, layers)
        score = scorer(metric, statistics, dense)
        with dense.pruned(prune_masks(layers, score, Unstructured(0.5, "model"), room)):
            negative_log_likelihoods(model, ids, window=length, head=head)
    need = predict(shapes, work, memory, head.chunk_tokens())
    counted = live.peak + shapes.weights
    assert counted <= need.device + need.host
    assert need.device + need.host <= 1.6 * counted


@pytest.mark.parametrize(("fields", "length"), [(WIDE, 16), (NARROW, 256)])
def test_prediction_counts_the_factors_of_the_update(fields, length):
    model = tiny_llama(vocab_size=97, max_position_embeddings=512, **fields)
    ids = torch.randint(0, 97, (3, length))
    shapes = Shapes.of(model)
    head = CausalHead.of(model)
    work = Workload(
        window=length,
        windows=3,
        length=length,
        sequences=3,
        terminals=frozenset("X"),
        update=True,
    )
    layers = prunable_layers(model)
    with LiveBytes(*model.parameters()) as live:
        statistics = measure_statistics(model, ids, "X")
        update = ObsUpdate.measure(model, ids)
        dense = dense_weights(model, layers)
        masks = prune_masks(layers, scorer(Metric.named("wanda"), statistics, dense), NofM(2, 4))
        with dense.pruned(kept(masks), update):
            negative_log_likelihoods(model, ids, window=length, head=head)
    need = predict(shapes, work, "resident", head.chunk_tokens())
    counted = live.peak + shapes.weights
    assert counted <= need.device <= 1.6 * counted


def test_a_score_leaves_nothing_behind_for_the_garbage_collector():
    weight = torch.rand(4, 8)
    tensor = weakref.ref(weight.untyped_storage())
    gc.disable()
    try:
        score = Metric.parse("mul(abs(mul(W, W)), mms(W))").score(weight)
        del weight
        assert tensor() is None
        assert score.shape == (4, 8)
    finally:
        gc.enable()
