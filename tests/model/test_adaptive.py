"""The metric chooses while the sweep updates: SparseGPT's own choice, by hand, through a model."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.model import sparsegpt as mathematics
from pruner_zero.model.adaptive import adaptively_pruned
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import layer_mask
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.prune import prune
from pruner_zero.model.sparsegpt import Hessian, InverseHessian, reconstruct, sparsegpt
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import Statistics
from pruner_zero.model.tiny import random_tiny

SALIENCY = Metric.parse("ratio(sqr(W), H)")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """The tiny model's layers have more than one block, as real ones have."""
    monkeypatch.setattr(mathematics, "_COLUMNS", 16)
    monkeypatch.setattr(mathematics, "_STEP", 8)


@pytest.fixture
def layer():
    return prunable_layers(random_tiny()[0])[0]


def problem(layer, seed=0):
    """A weight of the layer's shape, its Hessian, and the statistics G, X and H."""
    generator = torch.Generator().manual_seed(seed)
    out, width = layer.shape
    mix = torch.randn(width, width, generator=generator)
    hessian = Hessian(width)
    hessian.add(torch.randn(400, width, generator=generator) @ mix)
    weight = torch.randn(out, width, generator=generator)
    inverse = InverseHessian.of(hessian.matrix())
    values = {
        "G": torch.rand(out, width, generator=generator),
        "X": torch.rand(1, width, generator=generator),
        "H": inverse.upper.diagonal().square().unsqueeze(0),
    }
    statistics = Statistics({name: {layer.name: value} for name, value in values.items()})
    return weight, hessian.matrix(), inverse, statistics


@pytest.mark.parametrize("pattern", [NofM(2, 4), NofM(4, 8), NofM(1, 2)])
def test_its_own_saliency_asked_at_every_group_is_sparsegpt(layer, monkeypatch, pattern):
    weight, hessian, inverse, statistics = problem(layer)
    monkeypatch.setattr(mathematics, "_STEP", pattern.m)
    found, mask = adaptively_pruned(layer, weight, inverse, SALIENCY, statistics, pattern)
    expected = sparsegpt(weight, hessian, pattern)
    assert mask.equal(expected == 0)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "pattern",
    [
        NofM(2, 4),
        Unstructured(0.5),
        Unstructured(0.5, "layer"),
        Unstructured(0.61),
        Unstructured(0.61, "layer"),
        Unstructured(0.07),
    ],
)
@pytest.mark.parametrize(
    "formula", ["mul(W, sqrt(X))", "mul(sqr(W), mms(G))", "add(mms(W), mms(G))"]
)
def test_the_weights_are_those_of_the_update_with_the_same_mask(layer, pattern, formula):
    weight, hessian, inverse, statistics = problem(layer)
    before = weight.clone()
    metric = Metric.parse(formula)
    found, mask = adaptively_pruned(layer, weight, inverse, metric, statistics, pattern)
    assert weight.equal(before)
    assert torch.allclose(found, reconstruct(weight, hessian, mask), rtol=1e-3, atol=1e-4)
    assert not found[mask].any()
    others = {name: statistics.values[name][layer.name] for name in metric.terminals - {"W"}}
    dense = layer_mask(metric.score(weight, **others), pattern)
    across = pattern == Unstructured(pattern.ratio, "layer")
    counts = [one.sum() if across else one.sum(1) for one in (mask, dense)]
    assert counts[0].equal(counts[1])
    assert not mask.equal(dense)


class Own:
    """A metric from outside: it knows terminals and scores, nothing else."""

    terminals = frozenset("WX")

    def score(self, W, X):
        return W * X.sqrt()


def test_any_object_that_scores_may_choose(layer):
    weight, _, inverse, statistics = problem(layer)
    pattern = Unstructured(0.5)
    given = adaptively_pruned(layer, weight, inverse, Own(), statistics, pattern)
    expected = adaptively_pruned(layer, weight, inverse, Metric.named("wanda"), statistics, pattern)
    assert given[1].equal(expected[1])


def test_formulas_of_one_order_are_asked_alike(layer):
    weight, _, inverse, statistics = problem(layer)
    masks = [
        adaptively_pruned(layer, weight, inverse, Metric.parse(text), statistics, NofM(2, 4))[1]
        for text in ("mul(W, G)", "mms(mul(W, G))", "sqr(mul(G, W))")
    ]
    assert masks[0].equal(masks[1]) and masks[0].equal(masks[2])


def test_a_later_choice_sees_what_earlier_ones_did():
    """Inputs 0 and 4 are the same: weight 0 goes, weight 4 pays for it and outgrows weight 5."""
    inputs = torch.zeros(8, 8)
    inputs[:, 0] = inputs[:, 4] = 1
    inputs[:3, 1:4] = torch.eye(3)
    inputs[3:6, 5:] = torch.eye(3)
    hessian = Hessian(8)
    hessian.add(inputs)
    inverse = InverseHessian.of(hessian.matrix())
    weight = torch.tensor([[1.0, 9, 9, 9, 2, 2.5, 9, 9]])
    before = weight.clone()
    asked = []

    def lowest(current, columns):
        asked.append((columns, current.clone()))
        return layer_mask(current[:, columns].abs(), NofM(1, 4))

    _, mask = mathematics.swept(weight, inverse, lowest, 4)
    assert mask.nonzero()[:, 1].tolist() == [0, 4]  # asked once: the dense weights' choice
    assert [columns for columns, _ in asked] == [slice(0, 8)]
    assert weight.equal(before)
    asked.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mathematics, "_STEP", 4)
        found, mask = mathematics.swept(weight, inverse, lowest, 4, often=True)
    assert mask.nonzero()[:, 1].tolist() == [0, 5]
    assert [columns for columns, _ in asked] == [slice(0, 4), slice(4, 8)]
    assert asked[1][1][0, 0] == 0  # a pruned weight is seen as pruned
    assert asked[1][1][0, 4] == pytest.approx(3, abs=0.1)
    assert found[0, 4] == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("mode", ["one_shot", "sequential"])
@pytest.mark.parametrize("sparsity", ["2:4", "0.5"])
def test_a_whole_model(mode, sparsity):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 259, (4, 32), generator=generator)
    chosen, given = (random_tiny()[0] for _ in range(2))
    settings = {"calibration": ids, "mode": mode}
    report = prune(chosen, "mul(sqr(W), sqrt(G))", sparsity, update="adaptive", **settings)
    prune(given, "mul(sqr(W), sqrt(G))", sparsity, update="obs", **settings)
    assert report.zeros == report.weights // 2 and report.mode == mode
    assert perplexity(chosen, ids) != pytest.approx(perplexity(given, ids), rel=1e-4)


def test_a_wide_scope_is_refused_before_any_weight_changes():
    model = random_tiny()[0]
    before = [layer.weight.clone() for layer in prunable_layers(model)]
    ids = torch.zeros(1, 8, dtype=torch.long)
    for scope in ("block", "model"):
        with pytest.raises(UserError, match="use scope row or layer"):
            prune(model, "wanda", 0.5, ids, scope=scope, mode="one_shot", update="adaptive")
    for layer, weight in zip(prunable_layers(model), before, strict=True):
        assert layer.weight.equal(weight)
