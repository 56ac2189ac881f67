"""The paths that only a CUDA device takes must give the results of the CPU, bit for bit."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.metric import Metric
from pruner_zero.model.digest import mask_digest
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import ScoreRoom, prune_masks
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.prune import prune
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.scoring import scorer
from pruner_zero.model.semi_structured import accelerate, check_layers, tokens_per_second
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.statistics import measure_statistics

from .conftest import linear_layer, tiny_llama

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SCOPES = [Unstructured(0.47, scope) for scope in ("row", "layer", "block", "model")]


@pytest.mark.parametrize("pattern", [*SCOPES, NofM(2, 4), NofM(3, 8)])
def test_masks_and_digests(pattern):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randint(-9, 9, (37, 48), generator=generator).float() for _ in range(4)]
    layers = [linear_layer(tensor, f"l{i}", block=i // 2) for i, tensor in enumerate(tensors)]
    digests = [
        mask_digest(prune_masks(layers, lambda x, where=where: x.weight.to(where), pattern))
        for where in ("cpu", "cuda")
    ]
    assert digests[0] == digests[1]


def test_statistics_repeat_and_agree_with_the_cpu(ids):
    model = tiny_llama()
    expected = measure_statistics(model, ids)
    model.cuda()
    first, second = (measure_statistics(model, ids) for _ in range(2))
    for name, value in first.G.items():
        assert value.equal(second.G[name])
        assert torch.allclose(value.cpu(), expected.G[name], rtol=1e-3, atol=1e-4)
    assert perplexity(model, ids) == pytest.approx(perplexity(tiny_llama(), ids), rel=1e-4)


def test_gradients_through_fused_attention_repeat():
    model = tiny_llama(hidden_size=256, intermediate_size=256, max_position_embeddings=512)
    model = model.to("cuda", torch.bfloat16)  # heads of 64, which every fused kernel takes
    ids = torch.randint(0, 61, (4, 512), generator=torch.Generator().manual_seed(2))
    first = measure_statistics(model, ids)
    for _ in range(3):
        again = measure_statistics(model, ids)
        assert all(value.equal(first.G[name]) for name, value in again.G.items())


@pytest.mark.parametrize("scope", ["row", "layer", "block", "model"])
def test_long_rows_and_ties(scope):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(300, 1200, generator=generator).half().float() for _ in range(26)]
    layers = [linear_layer(tensor, f"l{i}", block=i // 2) for i, tensor in enumerate(tensors)]
    room = ScoreRoom(1 << 30)
    digests = []
    for where in ("cpu", "cuda"):
        for layer in layers:
            layer.module.to(where)
        masks = prune_masks(layers, lambda x: x.weight, Unstructured(0.47, scope), room)
        digests.append(mask_digest(masks))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", ["pruner-zero", "gblm", "ria"])
@pytest.mark.parametrize("pattern", [*SCOPES, NofM(2, 4)])
def test_layers_scored_together_have_the_masks_of_layers_alone(ids, name, pattern):
    model = tiny_llama(hidden_size=64, intermediate_size=96, num_hidden_layers=4).cuda()
    layers = prunable_layers(model)
    score = scorer(Metric.named(name), measure_statistics(model, ids), DenseWeights(layers))
    assert score.window
    together = mask_digest(prune_masks(layers, score, pattern))
    assert together == mask_digest(prune_masks(layers, lambda layer: score(layer), pattern))


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_prune(ids, method):
    report = prune(tiny_llama().cuda(), method, "2:4", calibration=ids)
    assert report.sparsity == 0.5


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="needs a CUDA device of compute capability 8.0",
)
def test_semi_structured_tensors_compute_the_same():
    model, ids = (
        tiny_llama(hidden_size=128, intermediate_size=256).to("cuda", torch.bfloat16),
        torch.arange(128).view(2, 64) % 61,
    )
    prune(model, "magnitude", "2:4")
    expected = perplexity(model, ids)
    layers = prunable_layers(model)
    check_layers(layers)
    accelerate(layers)
    assert perplexity(model, ids) == pytest.approx(expected, rel=0.02)
    assert tokens_per_second(model, ids, repeats=2, warm_up=1) > 0
