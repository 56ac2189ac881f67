"""The fitness worker: results, failures as data, identity by masks, restoration."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from pruner_zero.errors import OutOfDeviceMemory, UserError
from pruner_zero.metric import Metric
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import prune_masks
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.placement import place
from pruner_zero.model.sparsity import SCOPES, NofM, Unstructured
from pruner_zero.model.statistics import measure_statistics
from pruner_zero.model.tiny import random_tiny
from pruner_zero.search.individual import Candidate, Individual
from pruner_zero.search.ledger import Ledger
from pruner_zero.search.primitives import metric_to_nodes, primitive_set
from pruner_zero.search.racing import RacingConfig, Rival
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
    assert (first.known_by, second.known_by, second.tokens) == (None, "digest", 0)


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


def test_racing_stops_the_hopeless_and_says_so(model, statistics):
    ids = torch.randint(3, 259, (8, 24), generator=torch.Generator().manual_seed(1))
    worker = FitnessWorker(model, statistics, ids, Unstructured(0.5), RacingConfig())
    good = worker.evaluate(Metric.named("wanda"))
    assert good.complete and len(good.losses) == 8
    rival = [loss - 60 for loss in good.losses]  # far better on every window
    bad = worker.evaluate(Metric.parse("neg(W)"), rival=Rival(tuple(rival)))
    assert not bad.complete and bad.losses == bad.losses[:1]
    assert bad.tokens == bad.cost == 23
    again = worker.evaluate(Metric.parse("sub(G, add(W, G))"), rival=None)
    assert (again.perplexity, again.complete, again.cost) == (bad.perplexity, False, 0)
    # Its estimate: the rival's loss and the difference seen so far.
    nll = sum(rival) + (bad.losses[0] - rival[0]) * 8
    assert bad.perplexity == pytest.approx(math.exp(nll / (8 * 23)))


def test_ledger_replaces_the_model_and_changes_nothing(model, statistics, tmp_path, monkeypatch):
    def worker(racing=True):
        ledger = Ledger(tmp_path / "ledger.sqlite").context({"model": "tiny"})
        config = RacingConfig(enabled=racing)
        return FitnessWorker(model, statistics, IDS, Unstructured(0.5), config, ledger)

    rival = Rival((1.0, 1.0, 1.0))
    first = worker()
    results = [
        first.evaluate(Metric.named("wanda")),
        first.evaluate(Metric.parse("neg(W)"), "layer", rival),
    ]
    assert [len(r.losses) for r in results] == [3, 1]
    second = worker()
    monkeypatch.setattr("pruner_zero.search.worker.prune_masks", None)  # no masks are made
    known = [
        second.evaluate(Metric.named("wanda")),
        second.evaluate(Metric.parse("neg(W)"), "layer", rival),
    ]
    assert [(r.perplexity, r.losses, r.cost) for r in known] == [
        (r.perplexity, r.losses, r.cost) for r in results
    ]
    assert [(r.tokens, r.known_by) for r in known] == [(0, "ledger")] * 2
    monkeypatch.undo()
    # A search that does not race goes on where the other one stopped.
    longer = worker(racing=False).evaluate(Metric.parse("neg(W)"), "layer", rival)
    assert (longer.complete, longer.tokens, longer.cost) == (True, 2 * 23, 3 * 23)
    assert longer.losses[:1] == results[1].losses


def test_scope_changes_the_masks_and_is_part_of_what_is_known(model, statistics):
    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    digests = {scope: worker.evaluate(Metric.named("wanda"), scope).digest for scope in SCOPES}
    assert len(set(digests.values())) == 4
    assert worker.evaluate(Metric.named("wanda")).digest == digests["row"]
    with pytest.raises(UserError, match="drop the scope"):
        FitnessWorker(model, statistics, IDS, NofM(2, 4)).evaluate(Metric.named("wanda"), "layer")


def test_repeats_show_on_the_probe(model, statistics):
    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    assert not worker.looks_known(Metric.named("wanda"), None)
    worker.evaluate(Metric.named("wanda"))
    assert worker.looks_known(Metric.parse("mul(sqr(W), X)"), None)
    assert worker.looks_known(Metric.named("wanda"), "row")
    assert not worker.looks_known(Metric.named("wanda"), "model")
    assert not worker.looks_known(Metric.named("gradient"), None)
    worker.evaluate(Metric.parse("sub(G, G)"))  # no valid scores: no look to repeat
    assert not worker.looks_known(Metric.parse("sub(W, W)"), None)


def test_a_resumed_worker_knows_what_the_log_knows(model, statistics):
    def candidate(metric, number):
        individual = Individual(metric_to_nodes(metric, primitive_set()))
        return Candidate(number, 0, "random", (), metric, metric, individual)

    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    metrics = [Metric.named("wanda"), Metric.parse("sub(G, G)")]
    records = [
        json.loads(json.dumps(candidate(m, n).record(worker.evaluate(m))))
        for n, m in enumerate(metrics)
    ]
    fresh = FitnessWorker(model, statistics, IDS, Unstructured(0.5))
    for record in records:
        fresh.remember(record)
    assert fresh.looks_known(Metric.named("wanda"), None)
    known = fresh.evaluate(Metric.named("wanda"))
    assert (known.known_by, known.cost) == ("expression", 0)
    assert known.losses == worker.evaluate(Metric.named("wanda")).losses


def test_without_reuse_known_masks_are_charged_like_new_ones(model, statistics):
    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5), reuse=False)
    first = worker.evaluate(Metric.parse("W"))
    second = worker.evaluate(Metric.parse("sqr(W)"))
    assert (second.perplexity, second.digest) == (first.perplexity, first.digest)
    assert (second.tokens, second.cost) == (0, first.cost)


@pytest.mark.parametrize("scope", SCOPES)
def test_blocks_on_the_host_change_nothing(statistics, scope):
    # Wanda, no valid scores, two formulas with the same masks.
    metrics = [Metric.parse(text) for text in ("mul(W, sqrt(X))", "sub(G, G)", "W", "sqr(W)")]
    results = []
    for memory in ("resident", "blockwise"):
        model = random_tiny()[0]
        before = weights(model)
        place(model, torch.device("cpu"), memory)
        worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5), RacingConfig())
        found = [worker.evaluate(metric, scope, Rival((9e9,) * 3)) for metric in metrics]
        assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
        results.append([replace(result, seconds=0.0) for result in found])
    assert results[0] == results[1]
    assert [result.known_by for result in results[1]] == [None, None, None, "digest"]


def test_a_full_device_sends_the_blocks_to_the_host_once(statistics, monkeypatch):
    metric = Metric.named("wanda")
    expected = FitnessWorker(random_tiny()[0], statistics, IDS, Unstructured(0.5)).evaluate(metric)
    model = random_tiny()[0]
    said = []
    worker = FitnessWorker(
        model, statistics, IDS, Unstructured(0.5), on_full=lambda: said.append("full")
    )
    plain, attempts = prune_masks, []

    def hungry(*args):
        attempts.append(hosted_blocks(model) is not None)
        if not attempts[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB\nmore")
        return plain(*args)

    monkeypatch.setattr("pruner_zero.search.worker.prune_masks", hungry)
    result = worker.evaluate(metric)
    assert (result.digest, result.losses) == (expected.digest, expected.losses)
    assert (attempts, said) == ([False, True], ["full"])
    assert worker.perplexity(metric, IDS) == expected.perplexity
    assert attempts == [False, True, True]

    refused = FitnessWorker(random_tiny()[0], statistics, IDS, Unstructured(0.5))
    model = refused.model
    with pytest.raises(OutOfDeviceMemory, match=r"1\.00 GiB\): set memory=blockwise"):
        refused.evaluate(metric)
