from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import InvalidScores, prune_masks
from pruner_zero.model.pruning import DenseWeights, apply_masks, zero_weights
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import Statistics, measure_statistics

from .conftest import tiny_llama


class WeightTimesGradient:
    terminals = frozenset("WG")

    def score(self, W, G):
        return W * G


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model, before):
    return all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pattern", [Unstructured(0.5), Unstructured(0.3, "model"), NofM(2, 4)])
def test_dense_weights_come_back(tiny, ids, pattern):
    before = snapshot(tiny)
    layers = prunable_layers(tiny)
    dense = DenseWeights(layers)
    score = scorer(WeightTimesGradient(), measure_statistics(tiny, ids), dense)
    count = sum(int(mask.sum()) for _, mask in prune_masks(layers, score, pattern))
    with dense.pruned(prune_masks(layers, score, pattern)):
        zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
        assert zeros == count > 0
        assert not unchanged(tiny, before)
    assert unchanged(tiny, before)


def test_they_come_back_after_exceptions_in_the_block_and_in_the_masks(tiny):
    before = snapshot(tiny)
    layers = prunable_layers(tiny)
    dense = DenseWeights(layers)

    def score(layer):
        if layer is layers[5]:
            return torch.full(layer.shape, torch.nan)
        return layer.weight.abs()

    with (
        pytest.raises(InvalidScores, match="NaN"),
        dense.pruned(prune_masks(layers, score, Unstructured(0.5))),
    ):
        pytest.fail("no model to look at")
    assert unchanged(tiny, before)
    with (
        pytest.raises(RuntimeError, match="evaluation"),
        dense.pruned(prune_masks(layers, lambda x: x.weight.abs(), Unstructured(0.5))),
    ):
        assert not unchanged(tiny, before)
        raise RuntimeError("evaluation")
    assert unchanged(tiny, before)


def test_negative_zero_and_special_bits_survive(tiny):
    layer = prunable_layers(tiny)[0]
    with torch.no_grad():
        layer.weight[0, 0] = -0.0
        layer.weight[0, 1] = 2.0**-149
    bits = layer.weight.detach().view(torch.int32).clone()
    dense = DenseWeights([layer])
    with dense.pruned([(layer, torch.ones(layer.shape, dtype=torch.bool))]):
        assert not layer.weight.any()
    assert layer.weight.detach().view(torch.int32).equal(bits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_zeroed_weights_have_the_bits_of_zero_and_the_rest_keep_theirs(dtype):
    weight = torch.tensor([[-1.5, -0.0, torch.inf, torch.nan], [2.0, -2.0, 0.0, -torch.inf]])
    weight = weight.to(dtype)
    mask = torch.tensor([[True, False, True, True], [False, True, False, False]])
    expected = weight.masked_fill(mask, 0)
    zero_weights(weight, mask)
    as_integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    assert weight.view(as_integers).equal(expected.view(as_integers))


def test_apply_masks_stays(tiny):
    layers = prunable_layers(tiny)
    apply_masks(prune_masks(layers, lambda x: x.weight.abs(), NofM(2, 4)))
    assert all(int((layer.weight == 0).sum()) * 2 == layer.weight.numel() for layer in layers)


def test_statistics_that_were_not_measured_or_are_anothers_are_named(tiny, ids):
    layers = prunable_layers(tiny)
    with pytest.raises(UserError, match="reads G, which was not measured"):
        scorer(WeightTimesGradient(), measure_statistics(tiny, ids, ["X"]))
    wider = measure_statistics(tiny_llama(intermediate_size=32), ids)
    score = scorer(WeightTimesGradient(), wider)
    score(layers[0])
    with pytest.raises(UserError, match=r"gradient of model\.layers\.0\.mlp\.gate_proj has shape"):
        score(layers[4])
    shallow = measure_statistics(tiny_llama(num_hidden_layers=1), ids)
    with pytest.raises(UserError, match=r"no gradient of model\.layers\.1"):
        scorer(WeightTimesGradient(), shallow)(layers[7])
    empty = Statistics({})
    assert empty.terminals() == {"W", "D"}
