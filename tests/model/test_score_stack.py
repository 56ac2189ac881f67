"""Layers scored together have the scores, masks and errors of layers scored one at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner_zero.bench.inputs import random_statistics
from pruner_zero.metric import OPERATORS, Metric
from pruner_zero.metric.words import Operator
from pruner_zero.model.digest import MaskDigest
from pruner_zero.model.masks import InvalidScores, prune_masks
from pruner_zero.model.packed import pack, pack_together
from pruner_zero.model.sample_select import kth_by_sample
from pruner_zero.model.score_stack import scored_windows
from pruner_zero.model.scoring import LayerScores, scorer
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import MEASURED_TERMINALS, Statistics

from .conftest import linear_layer

SHAPES = [(8, 16), (4, 16), (8, 16), (16, 8), (8, 16), (4, 16)]
SCOPES = [Unstructured(0.47, scope) for scope in ("row", "layer", "block", "model")]


@pytest.fixture
def layers():
    generator = torch.Generator().manual_seed(3)
    return [
        linear_layer(torch.randn(shape, generator=generator), f"l{i}", block=i // 3)
        for i, shape in enumerate(SHAPES)
    ]


@pytest.fixture
def statistics(layers):
    return random_statistics(layers, MEASURED_TERMINALS)


def together(metric: Metric, statistics: Statistics, limit: int = 300) -> LayerScores:
    """As on CUDA, where several layers are scored at once."""

    class Together(LayerScores):
        window = limit

    return Together(metric, statistics, None)


def example(operator: Operator) -> Metric:
    first = "mul(add(W, X), add(G, R))"
    arguments = first if operator.arity == 1 else f"{first}, add(mul(M, V), add(H, D))"
    return Metric.parse(f"add({operator.name}({arguments}), mul(W, 0.5))")


def test_windows_keep_the_order_and_their_limit(layers):
    score = together(Metric.named("magnitude"), Statistics({}))
    windows = list(scored_windows(layers, score))
    assert [layer for window in windows for layer in window.layers] == layers
    assert [len(window.layers) for window in windows] == [2, 2, 2]  # 192, 256, 192 weights
    alone = list(scored_windows(layers, lambda layer: layer.weight))
    assert [len(window.layers) for window in alone] == [1] * 6
    wide = together(Metric.named("magnitude"), Statistics({}), limit=10_000)
    (window,) = scored_windows(layers, wide)
    assert [len(group) for group, _ in window.stacks] == [3, 2, 1]
    for layer, scores in window.each():
        assert scores.equal(layer.weight.abs())


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_operator_scores_a_stack_like_its_layers(layers, statistics, name, monkeypatch):
    metric = example(OPERATORS[name])
    same = [layer for layer in layers if layer.shape == (8, 16)]
    one = scorer(metric, statistics)
    expected = torch.stack([one(layer) for layer in same])
    # One layer at a time is the way out for what cannot be stacked: not of our own operators.
    monkeypatch.setattr(LayerScores, "__call__", None)
    stacked = one.stacked(same)
    assert torch.allclose(stacked, expected, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("pattern", [*SCOPES, NofM(2, 4)])
def test_masks(layers, statistics, pattern):
    metric = Metric.named("gblm")
    expected = list(prune_masks(layers, scorer(metric, statistics), pattern))
    found = list(prune_masks(layers, together(metric, statistics), pattern))
    assert [layer for layer, _ in found] == layers
    for (_, mask), (_, wanted) in zip(found, expected, strict=True):
        assert mask.equal(wanted)


class Looks:
    """A metric with an operator that looks at values, which no stack of tensors has."""

    terminals = frozenset({"W"})

    def score(self, W, **others):
        return W * 2 if float(W.max()) > 1 else W


def test_an_operator_that_looks_at_values_is_asked_layer_by_layer(layers):
    same = [layer for layer in layers if layer.shape == (8, 16)]
    same[1].weight.data /= 100
    stacked = scorer(Looks(), Statistics({})).stacked(same)
    one_by_one = [Looks().score(layer.weight.detach().abs()) for layer in same]
    assert stacked.equal(torch.stack(one_by_one))


def test_what_is_wrong_with_one_layer_of_a_stack_names_it(layers, statistics):
    layers[3].weight.data[0, 0] = float("nan")
    layers[4].weight.data[0, 0] = float("inf")
    score = together(Metric.named("magnitude"), statistics)
    with pytest.raises(InvalidScores) as failure:
        list(prune_masks(layers, score, Unstructured(0.5)))
    assert (failure.value.layer, failure.value.reason) == (layers[3].name, "NaN")


@given(st.lists(st.integers(0, 70), max_size=6), st.integers(0, 9))
def test_masks_packed_together_are_those_packed_alone(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(size, generator=generator) < 0.5 for size in (*sizes, 16)]
    for packed, mask in zip(pack_together(masks), masks, strict=True):
        assert packed.equal(pack(mask))


def test_a_digest_is_the_same_whether_masks_wait_or_not(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    masks = {f"l{i}": torch.rand(3, 5 + i, generator=generator) < 0.5 for i in range(9)}
    alone, waiting = MaskDigest(), MaskDigest()
    for name, mask in masks.items():
        alone.update(name, mask)
        waiting._wait(name, mask)
        if name == "l5":
            assert waiting.hexdigest() == alone.hexdigest()
    assert waiting.hexdigest() == alone.hexdigest()


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=300),
    st.floats(0, 1),
    st.sampled_from([1, 3, 16, 1000]),
    st.booleans(),
)
def test_the_kth_value_by_a_sample_is_exact(values, share, sample, ordered):
    numbers = torch.tensor(sorted(values) if ordered else values)
    k = min(len(values), 1 + int(share * len(values)))
    assert kth_by_sample(numbers, k, sample) == numbers.sort().values[k - 1]


def test_a_bracket_that_misses_the_rank_is_widened():
    # The sample sees every tenth value, and those are the largest.
    numbers = torch.arange(10_000.0)
    numbers[::10] += 20_000
    for k in (1, 500, 5_000, 9_000, 9_001, 10_000):
        assert kth_by_sample(numbers, k, 1_000) == numbers.sort().values[k - 1]
