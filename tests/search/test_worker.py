"""The fitness worker: results, failures as data, identity by masks, restoration."""

from __future__ import annotations

import math

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import measure_statistics
from pruner_zero.model.tiny import random_tiny
from pruner_zero.search.worker import FitnessWorker

IDS = torch.randint(3, 259, (3, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return random_tiny()[0]


@pytest.fixture(scope="module")
def statistics(model):
    return measure_statistics(model, IDS[:2])


def weights(model):
    return [layer.weight.detach().clone() for layer in prunable_layers(model)]


def test_result_equals_pruning_by_hand(model, statistics):
    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    before = weights(model)
    result = worker.evaluate(Metric.named("wanda"))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert result.tokens == 3 * 23
    with torch.no_grad():
        for layer in prunable_layers(model):
            score = layer.weight.abs() * statistics.X[layer.name].sqrt()
            order = torch.argsort(score, dim=1, stable=True)
            layer.weight.scatter_(1, order[:, : layer.weight.shape[1] // 2], 0)
        expected = perplexity(model, IDS)
        for layer, dense in zip(prunable_layers(model), before, strict=True):
            layer.weight.copy_(dense)
    assert result.perplexity == pytest.approx(expected, rel=1e-5)


def test_equal_masks_cost_no_forward_pass(model, statistics):
    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    first = worker.evaluate(Metric.parse("W"))
    second = worker.evaluate(Metric.parse("sqr(W)"))
    assert (second.perplexity, second.digest) == (first.perplexity, first.digest)
    assert (first.cached, second.cached, second.tokens) == (False, True, 0)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("mms(sub(W, W))", "NaN"),
        ("exp(mul(exp(exp(exp(W))), exp(exp(W))))", "Inf"),
        ("sub(G, G)", "constant"),
        ("div(W, sub(G, G))", "Inf"),
    ],
)
def test_failures_are_results_with_reasons(model, statistics, formula, reason):
    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    before = weights(model)
    result = worker.evaluate(Metric.parse(formula))
    assert math.isinf(result.perplexity)
    assert result.tokens == 0
    assert reason in (result.reason or "")
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_dense_weights_return_after_an_interruption(model, statistics, monkeypatch):
    worker = FitnessWorker(model, statistics, IDS, NofM(2, 4))
    before = weights(model)

    def interrupt(*_args, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("pruner_zero.search.worker.negative_log_likelihoods", interrupt)
    with pytest.raises(KeyboardInterrupt):
        worker.evaluate(Metric.named("pruner-zero"))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_impossible_pattern_is_refused_before_any_work(model, statistics):
    with pytest.raises(UserError, match=r"not a multiple of 7"):
        FitnessWorker(model, statistics, IDS, NofM(3, 7))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(model, statistics):
    cpu = FitnessWorker(model, statistics, IDS, Unstructured(0.5)).evaluate(Metric.named("wanda"))
    gpu = FitnessWorker(random_tiny()[0].cuda(), statistics, IDS.cuda(), Unstructured(0.5))
    result = gpu.evaluate(Metric.named("wanda"))
    assert result.digest == cpu.digest
    assert result.perplexity == pytest.approx(cpu.perplexity, rel=1e-3)
