"""The table of supported model families: each is pruned and measured as a tiny random model."""

from __future__ import annotations

import math

import pytest
import torch
import transformers

from pruner_zero.errors import UserError
from pruner_zero.model.head import CausalHead
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.prune import prune
from pruner_zero.model.selection import row_mask
from pruner_zero.model.statistics import MEASURED_TERMINALS, measure_statistics

COMMON = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
NO_GROUPS = {key: value for key, value in COMMON.items() if key != "num_key_value_heads"}
OPT = {
    **{
        key: v
        for key, v in NO_GROUPS.items()
        if key not in ("intermediate_size", "initializer_range")
    },
    "ffn_dim": 24,
    "init_std": 0.3,
    "word_embed_proj_dim": 16,
    "dropout": 0.1,
}
LOCAL = {
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}

# family: (class, configuration, Linear layers per block)
FAMILIES = {
    "llama": ("Llama", COMMON, 7),
    "llama-tied": ("Llama", {**COMMON, "tie_word_embeddings": True}, 7),
    "mistral": ("Mistral", {**COMMON, "sliding_window": 4}, 7),
    "qwen2": ("Qwen2", COMMON, 7),
    "qwen2-tied": ("Qwen2", {**COMMON, "tie_word_embeddings": True}, 7),
    "qwen3": ("Qwen3", {**COMMON, "head_dim": 4}, 7),
    "gemma": ("Gemma", {**COMMON, "head_dim": 4}, 7),
    "gemma2": ("Gemma2", {**COMMON, "head_dim": 4, **LOCAL, "final_logit_softcapping": 5.0}, 7),
    "gemma3": ("Gemma3", {**COMMON, "head_dim": 4, **LOCAL}, 7),
    "opt": ("OPT", OPT, 6),
    "opt-projected": ("OPT", {**OPT, "word_embed_proj_dim": 8, "do_layer_norm_before": False}, 6),
    "gpt-neox": ("GPTNeoX", {**NO_GROUPS, "use_parallel_residual": True}, 4),
    "gpt-neox-tied": ("GPTNeoX", {**NO_GROUPS, "tie_word_embeddings": True}, 4),
    "phi3": ("Phi3", {**COMMON, "original_max_position_embeddings": 64}, 4),
    "olmo2": ("Olmo2", COMMON, 7),
    "granite": ("Granite", {**COMMON, "logits_scaling": 2.0}, 7),
    "cohere": ("Cohere", {**COMMON, "logit_scale": 0.25}, 7),
}


def build(family: str):
    name, fields, per_block = FAMILIES[family]
    config_name = {"Gemma3": "Gemma3TextConfig"}.get(name, f"{name}Config")
    config = getattr(transformers, config_name)(**fields)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{name}ForCausalLM")(config).eval(), per_block


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_perplexity_and_statistics(family, ids):
    model, per_block = build(family)
    layers = prunable_layers(model)
    assert len(layers) == 3 * per_block
    assert [layer.block for layer in layers] == sorted(layer.block for layer in layers)
    head = {id(model.get_output_embeddings()), id(model.get_input_embeddings())}
    assert not head & {id(layer.module) for layer in layers}
    assert CausalHead.of(model).decoder is not None
    with torch.no_grad():
        loss = sum(float(model(row[None], labels=row[None]).loss) for row in ids) / len(ids)
    assert perplexity(model, ids) == pytest.approx(math.exp(loss), rel=1e-4)
    statistics = measure_statistics(model, ids)
    assert statistics.dense_perplexity == pytest.approx(math.exp(loss), rel=1e-4)
    assert set(statistics.G) == set(statistics.X) == {layer.name for layer in layers}
    assert all(value.any() for value in statistics.G.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_wide_terminals(family, ids):
    model, _ = build(family)
    statistics = measure_statistics(model, ids, MEASURED_TERMINALS)
    names = {layer.name for layer in prunable_layers(model)}
    for terminal in MEASURED_TERMINALS:
        values = statistics.values[terminal]
        assert values.keys() == names
        assert all(value.isfinite().all() and (value >= 0).all() for value in values.values())
    alone = measure_statistics(model, ids, "R")  # without any weight's gradient
    for name, value in statistics.values["R"].items():
        assert torch.allclose(alone.values["R"][name], value, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_sequential_flow_agrees_with_whole_model_passes(family, ids):
    reference, per_block = build(family)
    for start in range(0, 3 * per_block, per_block):
        X = measure_statistics(reference, ids, ["X"]).X
        for layer in prunable_layers(reference)[start : start + per_block]:
            score = layer.weight.detach().abs() * X[layer.name].sqrt()
            layer.weight.data[row_mask(score, layer.shape[1] // 2)] = 0
    model, _ = build(family)
    report = prune(model, "wanda", 0.5, calibration=ids)
    assert report.sparsity == 0.5
    for mine, theirs in zip(prunable_layers(model), prunable_layers(reference), strict=True):
        assert (mine.weight == 0).equal(theirs.weight == 0), mine.name
    assert perplexity(model, ids) == pytest.approx(perplexity(reference, ids), rel=1e-4)
    assert math.isfinite(perplexity(model, ids))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["sparsegpt", "pruner-zero"])
def test_groups_of_four(family, method, ids):
    model, _ = build(family)
    assert prune(model, method, "2:4", calibration=ids).sparsity == 0.5
    assert math.isfinite(perplexity(model, ids))


def mixture(name: str, **fields):
    config = getattr(transformers, f"{name}Config")(**{**COMMON, **fields})
    return getattr(transformers, f"{name}ForCausalLM")(config)


@pytest.mark.parametrize(
    "model",
    [
        lambda: mixture("Mixtral", num_local_experts=2),
        lambda: mixture("Qwen2Moe", num_experts=2, moe_intermediate_size=8),
        lambda: mixture("Qwen3Moe", num_experts=2, moe_intermediate_size=8),
        lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=61, n_embd=16, n_layer=2, n_head=4)
        ),
    ],
    ids=["mixtral", "qwen2-moe", "qwen3-moe", "gpt2-conv1d"],
)
def test_not_supported_is_said_before_anything_is_pruned(model, ids):
    with pytest.raises(UserError, match=r"not supported: (model\.layers|transformer)"):
        prune(model(), "wanda", 0.5, calibration=ids)
