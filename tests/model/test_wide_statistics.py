"""The terminals beyond G and X, each against a direct computation on the tiny model."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.metric import TERMINALS, Metric
from pruner_zero.model.accumulators import Hessians
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.scoring import scorer, terminal_of
from pruner_zero.model.selection import flat_mask
from pruner_zero.model.sparsegpt import saliency_scale, sparsegpt
from pruner_zero.model.sparsity import Unstructured
from pruner_zero.model.statistics import MEASURED_TERMINALS, measure_statistics

from .conftest import tiny_llama


def inputs_and_output_gradients(model, ids, scale=100.0):
    """Each layer's inputs and scaled output gradients, [N, L, features], by HF's loss alone."""
    layers = prunable_layers(model)
    inputs = {layer.name: [] for layer in layers}
    gradients = {layer.name: [] for layer in layers}
    for row in ids:
        outputs = {}

        def note(module, args, output, name):
            inputs[name].append(args[0][0].detach())
            output.retain_grad()
            outputs[name] = output  # noqa: B023 (read before the next row)

        handles = [
            layer.module.register_forward_hook(
                lambda m, a, o, name=layer.name, note=note: note(m, a, o, name)
            )
            for layer in layers
        ]
        model.zero_grad()
        model(row[None], labels=row[None]).loss.backward()
        for name, output in outputs.items():
            gradients[name].append(scale * output.grad[0])
        for handle in handles:
            handle.remove()
    model.zero_grad(set_to_none=True)
    return (
        {name: torch.stack(rows) for name, rows in inputs.items()},
        {name: torch.stack(rows) for name, rows in gradients.items()},
    )


def test_every_terminal_against_its_definition(tiny, ids):
    inputs, gradients = inputs_and_output_gradients(tiny, ids)
    statistics = measure_statistics(tiny, ids, TERMINALS)
    assert statistics.terminals() == TERMINALS.keys()
    for layer in prunable_layers(tiny):
        x = inputs[layer.name].double()
        tokens = x.reshape(-1, x.shape[-1])
        hessian = 2 / len(ids) * tokens.t() @ tokens
        hessian += 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=x.dtype)
        expected = {
            "R": gradients[layer.name].square().sum(dim=1).mean(dim=0).reshape(-1, 1),
            "M": tokens.mean(dim=0, keepdim=True).abs(),
            "V": tokens.var(dim=0, correction=0, keepdim=True),
            # The inverse Hessian of the inputs from j on has this first entry.
            "H": torch.stack(
                [torch.linalg.inv(hessian[j:, j:])[0, 0] for j in range(len(hessian))]
            ).reshape(1, -1),
        }
        for name, value in expected.items():
            got = statistics.values[name][layer.name]
            assert got.dtype == torch.float32
            assert got.shape == TERMINALS[name].shape(*layer.shape)
            assert (got >= 0).all()
            assert torch.allclose(got, value.float(), rtol=2e-3, atol=1e-7), (layer.name, name)


def test_depth_needs_no_measurement(tiny):
    nothing = measure_statistics(tiny, torch.zeros(1, 3, dtype=torch.long), "WD")
    assert nothing.terminals() == {"W", "D"}
    assert not nothing.values
    layers = prunable_layers(tiny)
    assert [float(terminal_of(nothing, layers[i], "D")) for i in (0, 6, 7, 13)] == [0.5, 0.5, 1, 1]
    score = scorer(Metric.parse("mul(W, D)"), nothing)
    assert torch.allclose(score(layers[0]), layers[0].weight.detach().abs() / 2)


def test_what_is_measured_does_not_depend_on_what_else_is(tiny, ids):
    everything = measure_statistics(tiny, ids, MEASURED_TERMINALS)
    for name in sorted(MEASURED_TERMINALS):
        alone = measure_statistics(tiny, ids, name)
        assert alone.terminals() == {"W", "D", name}
        for layer, value in alone.values[name].items():
            assert torch.allclose(value, everything.values[name][layer], rtol=1e-5), (name, layer)
    paper = measure_statistics(tiny, ids)
    for name in "GX":
        assert all(v.equal(everything.values[name][n]) for n, v in paper.values[name].items())


def test_measuring_twice_gives_the_same_bits(tiny, ids):
    first, second = (measure_statistics(tiny, ids, MEASURED_TERMINALS) for _ in range(2))
    for name, layers in first.values.items():
        assert all(value.equal(second.values[name][layer]) for layer, value in layers.items())


def test_output_gradients_alone_leave_the_model_as_it_was(tiny, ids):
    flags = [parameter.requires_grad for parameter in tiny.parameters()]
    measure_statistics(tiny, ids, "R")
    assert [parameter.requires_grad for parameter in tiny.parameters()] == flags
    assert all(parameter.grad is None for parameter in tiny.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.modules())


def test_the_saliency_of_sparsegpt(tiny, ids):
    """On a layer of one column block, ratio(sqr(W), H) chooses what SparseGPT chooses."""
    layers = prunable_layers(tiny)
    hessians = Hessians(layers)
    with torch.no_grad(), hessians:
        for row in ids:
            tiny(row[None])
    score = scorer(Metric.parse("ratio(sqr(W), H)"), measure_statistics(tiny, ids, "H"))
    for layer in layers:
        pruned = sparsegpt(layer.weight, hessians.matrix(layer), Unstructured(0.5))
        one_more = layer.weight.numel() // 2 + 1  # the original's rule
        assert (pruned == 0).equal(flat_mask(score(layer), one_more))


def test_layers_with_the_same_input_share_a_hessian(tiny, ids):
    layers = prunable_layers(tiny)
    hessians = Hessians(layers)
    with torch.no_grad(), hessians:
        for row in ids:
            tiny(row[None])
    distinct = {id(hessians.matrix(layer)) for layer in layers}
    assert len(distinct) == 2 * 4
    q, k, o = (hessians.matrix(layers[i]) for i in (0, 1, 3))
    assert q is k
    alone = Hessians(layers[1:2])
    with torch.no_grad(), alone:
        for row in ids:
            tiny(row[None])
    assert alone.matrix(layers[1]).equal(k)
    assert not o.equal(q)


def test_inputs_that_never_fire(tiny, ids):
    with torch.no_grad():
        tiny.model.layers[0].input_layernorm.weight[3] = 0
    statistics = measure_statistics(tiny, ids, "MVXH")
    name = "model.layers.0.self_attn.q_proj"
    values = {terminal: statistics.values[terminal][name][0] for terminal in "MVXH"}
    assert [float(values[terminal][3]) for terminal in "MVX"] == [0, 0, 0]
    assert torch.isfinite(values["H"]).all()
    assert (values["H"] > 0).all()
    hessian = torch.diag(torch.tensor([0.0, 4.0]))
    # Damped by 1 % of the mean 2.5 of the diagonal (1, 4).
    assert torch.allclose(saliency_scale(hessian), torch.tensor([[1 / 1.025, 1 / 4.025]]))


def test_half_precision_models_accumulate_in_float32(ids):
    statistics = measure_statistics(tiny_llama().to(torch.bfloat16), ids, MEASURED_TERMINALS)
    exact = measure_statistics(tiny_llama(), ids, MEASURED_TERMINALS)
    for name, layers in statistics.values.items():
        for layer, value in layers.items():
            assert value.dtype == torch.float32
            pair = torch.stack([value.flatten(), exact.values[name][layer].flatten()])
            assert torch.corrcoef(pair)[0, 1] > 0.98, (name, layer)


def test_missing_and_unknown_terminals_are_named(tiny, ids):
    metric = Metric.parse("mul(mul(W, R), add(V, sqrt(X)))")
    with pytest.raises(UserError, match=r"reads R, V, which was not measured: .*\['R', 'V'\]"):
        scorer(metric, measure_statistics(tiny, ids))
    with pytest.raises(UserError, match="no terminal is called 'Y'"):
        measure_statistics(tiny, ids, ("X", "Y"))
    wider = measure_statistics(tiny_llama(intermediate_size=32), ids, "R")
    with pytest.raises(UserError, match=r"gate_proj has shape \[32, 1\].*needs \[24, 1\]"):
        scorer(Metric.parse("mul(W, R)"), wider)(prunable_layers(tiny)[4])


def test_statistics_move_and_combine(tiny, ids):
    statistics = measure_statistics(tiny, ids, "XV")
    more = statistics.with_values(measure_statistics(tiny, ids, "R").values)
    assert more.terminals() == set("WDXVR")
    moved = more.to("cpu")
    assert moved.values.keys() == more.values.keys()
    assert moved.X.keys() == more.X.keys()
    assert not moved.G
    assert moved.losses.equal(statistics.losses)
