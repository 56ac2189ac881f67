"""Models of the searching process rest in main memory while workers use the GPU."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.commands.workers import _move, _resting
from pruner_zero.metric import Metric
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import measure_statistics
from pruner_zero.model.tiny import random_tiny
from pruner_zero.search.worker import FitnessWorker
from pruner_zero.search.workers.kit import Kit
from tests.search.workers.conftest import IDS


def test_what_parts_share_they_go_on_sharing_elsewhere():
    model = random_tiny()[0].requires_grad_(False)
    statistics = measure_statistics(model, IDS[:2])
    first = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    second = FitnessWorker(model, statistics, IDS, NofM(2, 4), dense=first.dense)
    _move([first, second], torch.device("meta"))
    assert all(parameter.is_meta for parameter in model.parameters())
    for layer in first.layers:
        assert first.dense.weight(layer).is_meta
        for terminal in "GX":
            value = first.statistics.values[terminal][layer.name]
            assert value.is_meta and value is second.statistics.values[terminal][layer.name]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_kit_made_while_models_rest_computes_the_same_on_the_gpu():
    device = torch.device("cuda")
    model = random_tiny()[0].requires_grad_(False).to(device)
    statistics = measure_statistics(model, IDS[:2])
    first = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    second = FitnessWorker(model, statistics, IDS, NofM(2, 4), dense=first.dense)
    expected = [part.compute(Metric.named("wanda")).losses for part in (first, second)]
    with _resting([first, second], device):
        assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
        assert first.statistics.G[first.layers[0].name].device.type == "cpu"
        workers = Kit.of([first, second]).workers(device)
    assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
    for parts in (workers, (first, second)):
        assert [part.compute(Metric.named("wanda")).losses for part in parts] == expected
