from __future__ import annotations

import copy

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.metric.library import DISCOVERED
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import InvalidScores, prune_masks
from pruner_zero.model.methods import METHODS
from pruner_zero.model.prune import prune
from pruner_zero.model.selection import row_mask
from pruner_zero.model.sparsity import Unstructured
from pruner_zero.model.statistics import measure_statistics

from .conftest import linear_layer, tiny_llama


def zeros(model):
    return {layer.name: layer.weight == 0 for layer in prunable_layers(model)}


def same(a, b):
    return all(a[name].equal(b[name]) for name in a)


def others(model):
    prunable = {f"{layer.name}.weight" for layer in prunable_layers(model)}
    return {n: v.clone() for n, v in model.state_dict().items() if n not in prunable}


@pytest.mark.parametrize("mode", ["sequential", "one_shot"])
@pytest.mark.parametrize("update", ["none", "obs"])
@pytest.mark.parametrize("method", [name for name in METHODS if name not in DISCOVERED])
@pytest.mark.parametrize("sparsity", [0.5, "2:4"])
def test_every_method_prunes_exactly_and_touches_nothing_else(
    tiny, ids, method, mode, update, sparsity
):
    before = others(tiny)
    report = prune(tiny, method, sparsity, calibration=ids, mode=mode, update=update)
    assert all(value.equal(before[name]) for name, value in others(tiny).items())
    if method == "sparsegpt" and sparsity == 0.5:  # its rule prunes one more per 128 columns
        assert report.zeros == report.weights // 2 + 14
    else:
        assert report.sparsity == 0.5
    assert len(report.layers) == 14
    assert report.layers[0].shape == (16, 16)
    assert report.method == method
    assert report.update == ("obs" if method == "sparsegpt" else update)
    for layer in prunable_layers(tiny):
        if sparsity == "2:4":
            assert ((layer.weight == 0).reshape(-1, 4).sum(dim=1) == 2).all()
        elif method not in ("magnitude", "sparsegpt"):
            assert ((layer.weight == 0).sum(dim=1) * 2 == layer.shape[1]).all()


@pytest.mark.parametrize("method", DISCOVERED)
@pytest.mark.parametrize("update", ["none", "obs"])
def test_found_metrics_prune_in_their_own_scope(tiny, ids, method, update):
    report = prune(tiny, method, 0.5, calibration=ids, mode="one_shot", update=update)
    assert report.scope == DISCOVERED[method].scope
    assert report.zeros == report.weights // 2


# A 4×8 layer by hand: W tied in pairs, X and G chosen so that each method decides differently.
W = torch.tensor(
    [
        [1, 1, 2, 2, 3, 3, 4, 4],
        [4, -4, 3, -3, 2, -2, 1, -1],
        [1, 2, 3, 4, 5, 6, 7, 8],
        [2, 2, 2, 2, 2, 2, 2, 2],
    ],
    dtype=torch.float32,
)
X = torch.tensor([[16, 1, 16, 1, 1, 1, 1, 4]], dtype=torch.float32)  # roots 4 1 4 1 1 1 1 2
G = torch.tensor(
    [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [0, 8, 0, 8, 0, 8, 0, 8],
        [9, 8, 7, 6, 5, 4, 3, 2],
        [1, 1, 2, 2, 1, 1, 2, 2],
    ],
    dtype=torch.float32,
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # |W|: ties go to the lower index.
        ("magnitude", ["xxxx....", "....xxxx", "xxxx....", "xxxx...."]),
        # |W|·√X rows: 4 1 8 2 3 3 4 8 / 16 4 12 3 2 2 1 2 / 4 2 12 4 5 6 7 16 / 8 2 8 2 2 2 2 4
        ("wanda", [".x.xxx..", "....xxxx", "xx.xx...", ".x.xxx.."]),
        # plus |W|·G: 5 3 14 10 18 21 32 40 / 16 36 12 27 2 18 1 10 /
        #             13 18 33 28 30 30 28 32 / 10 4 12 6 4 4 6 8
        ("gblm", ["xxxx....", "..x.x.xx", "xx.x..x.", ".x.xxx.."]),
        # W²·(G − 0)/9: 1 2 12 16 45 54 112 128 / 0 128 0 72 0 32 0 8 /
        #               9 32 63 96 125 144 147 128 / 4 4 8 8 4 4 8 8
        ("pruner-zero", ["xxxx....", "x.x.x.x.", "xxxx....", "xx..xx.."]),
    ],
)
def test_methods_by_hand(method, expected):
    metric = Metric.named(method)
    mask = row_mask(metric.score(W, G, X), 4)
    assert ["".join("x" if bit else "." for bit in row) for row in mask] == expected


def test_ria_by_hand():
    # |W| / row sum + |W| / column sum, times √X^½ = 2 1 2 1 1 1 1 √2.
    absolute = W.abs()
    relative = absolute / absolute.sum(1, keepdim=True) + absolute / absolute.sum(0, keepdim=True)
    score = Metric.named("ria").score(W, G, X)
    assert torch.allclose(score, relative * X**0.25, rtol=1e-5)


def test_default_scopes():
    layer = linear_layer(W)
    flat = next(iter(prune_masks([layer], lambda x: x.weight.abs(), Unstructured(0.5, "layer"))))
    assert flat[1].sum(dim=1).tolist() != [4, 4, 4, 4]
    model = tiny_llama()
    assert prune(copy.deepcopy(model), "magnitude", 0.5).scope == "layer"
    assert prune(copy.deepcopy(model), "magnitude", 0.5, scope="row").scope == "row"
    assert prune(copy.deepcopy(model), Metric.named("magnitude"), 0.5).scope == "row"
    assert prune(copy.deepcopy(model), "magnitude", "2:4").scope == "group"


def test_a_metric_without_activations_does_not_depend_on_the_flow(ids):
    results = []
    for mode in ("sequential", "one_shot"):
        model = tiny_llama()
        prune(model, "pruner-zero", 0.5, calibration=ids, mode=mode)
        results.append(zeros(model))
    assert same(*results)


def test_sequential_by_hand(ids):
    """The flow written out: statistics of each block on the model pruned so far, then its masks."""
    by_hand = tiny_llama()
    metric = Metric.named("wanda")
    for block in range(2):
        X = measure_statistics(by_hand, ids, ["X"]).X
        for layer in prunable_layers(by_hand)[7 * block : 7 * block + 7]:
            score = metric.score(layer.weight, None, X[layer.name])
            layer.weight.data[row_mask(score, layer.shape[1] // 2)] = 0
    model = tiny_llama()
    prune(model, "wanda", 0.5, calibration=ids)
    assert same(zeros(model), zeros(by_hand))
    one_shot = tiny_llama()
    prune(one_shot, "wanda", 0.5, calibration=ids, mode="one_shot")
    first, second = zeros(model), zeros(one_shot)
    names = list(first)
    assert all(first[name].equal(second[name]) for name in names[:7])
    assert not same(first, second)


def test_given_statistics_are_used_and_need_no_calibration(ids):
    statistics = measure_statistics(tiny_llama(), ids)
    models = [tiny_llama(), tiny_llama()]
    prune(models[0], "gblm", 0.5, statistics=statistics, mode="one_shot")
    prune(models[1], "gblm", 0.5, calibration=ids, mode="one_shot")
    assert same(*map(zeros, models))


def test_update_keeps_the_mask_of_the_first_block_and_lowers_the_error(ids):
    plain, mended, dense = tiny_llama(), tiny_llama(), tiny_llama()
    prune(plain, "wanda", 0.5, calibration=ids)
    prune(mended, "wanda", 0.5, calibration=ids, update="obs")
    assert zeros(plain)["model.layers.0.self_attn.q_proj"].equal(
        zeros(mended)["model.layers.0.self_attn.q_proj"]
    )
    # The first layer sees the same inputs in all three models: there the update must pay.
    seen = []
    target = dense.model.layers[0].self_attn.q_proj
    target.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        dense(ids)
        wanted = target(seen[0])
        errors = [
            float((model.model.layers[0].self_attn.q_proj(seen[0]) - wanted).norm())
            for model in (plain, mended)
        ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("update", ["none", "obs"])
def test_model_scope(ids, update):
    model = tiny_llama()
    report = prune(
        model, "wanda", 0.5, calibration=ids, mode="one_shot", update=update, scope="model"
    )
    assert report.zeros == report.weights // 2
    assert len({layer.sparsity for layer in report.layers}) > 1
    other = tiny_llama()
    prune(other, "wanda", 0.5, calibration=ids, mode="one_shot", scope="model")
    assert same(zeros(model), zeros(other))


def test_block_scope_sequential(ids):
    model = tiny_llama()
    report = prune(model, "wanda", 0.5, calibration=ids, scope="block")
    for block in (report.layers[:7], report.layers[7:]):
        weights = sum(layer.shape[0] * layer.shape[1] for layer in block)
        assert sum(layer.zeros for layer in block) == weights // 2


@pytest.mark.parametrize("method", ["wanda", "magnitude", "sparsegpt"])
def test_owl_gives_blocks_their_own_sparsity(ids, method):
    model = tiny_llama()
    with torch.no_grad():  # outliers in block 1
        model.model.layers[1].mlp.up_proj.weight[0] *= 40
    report = prune(model, method, 0.5, calibration=ids, allocation="owl", scope=None)
    first, second = report.layers[0].sparsity, report.layers[7].sparsity
    assert first - second > 0.1
    assert report.allocation == "owl"


def test_formula_and_unknown_method(tiny, ids):
    report = prune(tiny, "mul(W, G)", 0.5, calibration=ids)
    assert report.method == "mul(W, G)"
    with pytest.raises(UserError, match="did you mean 'wanda'"):
        prune(tiny, "wander", 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "wanda"}, "wanda needs activations here: give calibration ids or statistics"),
        ({"method": "gblm", "mode": "one_shot"}, "give calibration ids or statistics"),
        ({"method": "pruner-zero"}, "needs gradients"),
        ({"method": "mul(W, R)"}, "needs gradients here: give calibration ids or statistics"),
        ({"method": "mul(W, H)"}, "needs activations"),
        ({"method": "mul(W, V)", "mode": "one_shot"}, "needs activations"),
        ({"method": "mul(W, V)", "scope": "model"}, "use mode 'one_shot'"),
        ({"method": "sparsegpt"}, "give calibration ids"),
        ({"mode": "oneshot"}, "did you mean 'one_shot'"),
        ({"update": "obd"}, "did you mean 'obs'"),
        ({"allocation": "owls"}, "did you mean 'owl'"),
        ({"sparsity": "2:4", "allocation": "owl"}, "OWL sets a sparsity per block"),
        ({"scope": "model", "allocation": "owl"}, "OWL sets a sparsity per block"),
        ({"method": "wanda", "scope": "model"}, "use mode 'one_shot'"),
        ({"method": "sparsegpt", "scope": "row"}, "drop the scope"),
        ({"sparsity": "2:4", "scope": "row"}, "drop the scope"),
        ({"sparsity": "2:5"}, "multiple of 5"),
        ({"sparsity": 1.5}, "between 0 and 1"),
    ],
)
def test_options_that_do_not_fit_fail_before_anything_changes(tiny, options, message):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    with pytest.raises(UserError, match=message):
        prune(tiny, **{"method": "magnitude", "sparsity": 0.5, **options})
    assert all(value.equal(before[name]) for name, value in tiny.state_dict().items())


def test_long_calibration_is_refused(tiny):
    with pytest.raises(UserError, match="64 positions"):
        prune(tiny, "wanda", 0.5, calibration=torch.zeros(1, 65, dtype=torch.long))


def test_a_degenerate_metric_is_named(tiny):
    with pytest.raises(InvalidScores, match="constant"):
        prune(tiny, "sub(W, W)", 0.5)


def test_the_mode_and_the_hooks_are_as_before(tiny, ids):
    tiny.train()
    prune(tiny, "wanda", 0.5, calibration=ids, update="obs")
    assert tiny.training
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in tiny.modules())
