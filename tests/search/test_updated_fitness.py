"""Fitness with the OBS update: what pruning with it gives, dense afterwards, never mixed up."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.obs_update import ObsUpdate
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.placement import place
from pruner_zero.model.prune import prune
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import measure_statistics
from pruner_zero.model.tiny import random_tiny
from pruner_zero.search.worker import FitnessWorker

GENERATOR = torch.Generator().manual_seed(0)
IDS = torch.randint(3, 259, (3, 24), generator=GENERATOR)
CALIBRATION = torch.randint(3, 259, (4, 32), generator=GENERATOR)
PATTERNS = [NofM(2, 4), Unstructured(0.5), Unstructured(0.5, "model")]


class Counting:
    """An update that counts the layers it is asked for, and fails at one if told to."""

    adaptive = False

    def __init__(self, update, failing=None):
        self.update, self.failing, self.layers = update, failing, 0

    def __call__(self, layer, weight, mask):
        if self.layers == self.failing:
            raise RuntimeError("no more")
        self.layers += 1
        return self.update(layer, weight, mask)


@pytest.fixture(scope="module")
def model():
    return random_tiny()[0]


@pytest.fixture(scope="module")
def statistics(model):
    return measure_statistics(model, CALIBRATION)


@pytest.fixture(scope="module")
def update(model):
    return ObsUpdate.measure(model, CALIBRATION)


def weights(model):
    return [layer.weight.detach().clone() for layer in prunable_layers(model)]


def same(before, after):
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_fitness_is_the_perplexity_after_one_shot_pruning_with_the_update(
    model, statistics, update, pattern
):
    metric = Metric.named("pruner-zero")
    other = random_tiny()[0]
    prune(other, metric, pattern, calibration=CALIBRATION, mode="one_shot", update="obs")
    expected = perplexity(other, IDS)
    worker = FitnessWorker(model, statistics, IDS, pattern, update=update)
    before = weights(model)
    assert worker.evaluate(metric).perplexity == pytest.approx(expected, rel=1e-5)
    assert same(before, weights(model))
    assert worker.perplexity(metric, IDS) == pytest.approx(expected, rel=1e-5)
    plain = FitnessWorker(model, statistics, IDS, pattern).evaluate(metric).perplexity
    assert plain != pytest.approx(expected, rel=1e-3)
    assert worker.perplexity(metric, IDS, update=False) == pytest.approx(plain, rel=1e-5)
    assert same(before, weights(model))


@pytest.mark.parametrize("pattern", [NofM(2, 4), Unstructured(0.5), Unstructured(0.5, "layer")])
@pytest.mark.parametrize("name", ["wanda", "pruner-zero"])
def test_fitness_of_a_metric_that_chooses_while_it_updates(
    model, statistics, monkeypatch, pattern, name
):
    monkeypatch.setattr("pruner_zero.model.sparsegpt._COLUMNS", 16)  # several blocks per layer
    metric = Metric.named(name)
    other = random_tiny()[0]
    report = prune(
        other, metric, pattern, calibration=CALIBRATION, mode="one_shot", update="adaptive"
    )
    assert report.update == "adaptive" and report.zeros == report.weights // 2
    expected = perplexity(other, IDS)
    update = ObsUpdate.measure(model, CALIBRATION, adaptive=True)
    worker = FitnessWorker(model, statistics, IDS, pattern, update=update)
    before = weights(model)
    found = worker.evaluate(metric)
    assert found.perplexity == pytest.approx(expected, rel=1e-5)
    assert same(before, weights(model))
    assert worker.perplexity(metric, IDS) == pytest.approx(expected, rel=1e-5)
    given = ObsUpdate.measure(model, CALIBRATION)
    masked = FitnessWorker(model, statistics, IDS, pattern, update=given).evaluate(metric)
    assert masked.digest != found.digest
    # Other words with the same choices are the same candidate.
    again = worker.evaluate(Metric.parse(f"mul(2.0, {metric})"))
    assert again.known_by == "digest" and again.perplexity == found.perplexity


@pytest.mark.parametrize(
    ("formula", "reason"), [("sub(W, W)", "constant"), ("mul(exp(mul(W, 1e6)), G)", "Inf")]
)
def test_scores_that_cannot_choose_are_a_result(model, statistics, formula, reason):
    update = ObsUpdate.measure(model, CALIBRATION, adaptive=True)
    worker = FitnessWorker(model, statistics, IDS, NofM(2, 4), update=update)
    before = weights(model)
    assert reason in str(worker.evaluate(Metric.parse(formula)).reason)
    assert same(before, weights(model))


def test_a_choice_while_updating_knows_no_wide_scope(model, statistics):
    update = ObsUpdate.measure(model, CALIBRATION, adaptive=True)
    worker = FitnessWorker(model, statistics, IDS, Unstructured(0.5, "model"), update=update)
    with pytest.raises(UserError, match="use scope row or layer"):
        worker.evaluate(Metric.named("wanda"))


def test_the_model_is_dense_after_an_error_in_the_update(model, statistics, update):
    worker = FitnessWorker(model, statistics, IDS, NofM(2, 4), update=Counting(update, failing=5))
    before = weights(model)
    with pytest.raises(RuntimeError, match="no more"):
        worker.evaluate(Metric.named("wanda"))
    assert same(before, weights(model))


def test_known_masks_are_not_updated_again(model, statistics, update):
    counting = Counting(update)
    worker = FitnessWorker(model, statistics, IDS, NofM(2, 4), update=counting)
    first = worker.evaluate(Metric.named("wanda"))
    assert counting.layers == len(prunable_layers(model))
    again = worker.evaluate(Metric.parse("mul(sqr(W), X)"))  # other words, the same masks
    assert again.known_by == "digest"
    assert again.perplexity == first.perplexity
    assert counting.layers == len(prunable_layers(model))


def test_layers_with_one_input_share_a_factor(model, update):
    layers = prunable_layers(model)
    apart = 4 * sum(layer.shape[1] ** 2 for layer in layers)
    qkv_gate = ("k_proj", "v_proj", "up_proj")  # beside q_proj and gate_proj
    shared = 4 * sum(y.shape[1] ** 2 for y in layers if y.name.endswith(qkv_gate))
    assert update.size == apart - shared > 0


def test_a_model_that_runs_block_by_block_is_refused(update):
    hosted = random_tiny()[0]
    statistics = measure_statistics(hosted, CALIBRATION)
    place(hosted, torch.device("cpu"), "blockwise")
    with pytest.raises(UserError, match="memory=resident"):
        ObsUpdate.measure(hosted, CALIBRATION)
    with pytest.raises(UserError, match="memory=resident"):
        FitnessWorker(hosted, statistics, IDS, NofM(2, 4), update=update)
    plain = FitnessWorker(hosted, statistics, IDS, NofM(2, 4))
    with pytest.raises(UserError, match="memory=resident"), plain.dense.pruned([], update):
        pytest.fail("nothing was pruned")
    with pytest.raises(UserError, match="memory=resident"), plain.dense.replaced([]):
        pytest.fail("nothing was pruned")
