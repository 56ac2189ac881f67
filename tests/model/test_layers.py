from __future__ import annotations

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from pruner_zero.errors import UserError
from pruner_zero.model.layers import find_blocks, prunable_layers


def test_every_linear_of_the_blocks_in_order_and_nothing_else(tiny):
    layers = prunable_layers(tiny)
    assert [layer.short_name for layer in layers[:7]] == [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ]
    assert len(layers) == 14
    assert layers[7].name == "model.layers.1.self_attn.q_proj"
    assert layers[7].block == 1
    assert layers[7].public_key == "self_attn.q_proj_layer_1"
    assert layers[7].weight is tiny.model.layers[1].self_attn.q_proj.weight
    assert find_blocks(tiny) is tiny.model.layers


def test_mixture_of_experts_is_refused_by_name():
    config = MixtralConfig(
        vocab_size=31,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    with pytest.raises(UserError, match=r"not supported: model\.layers\.0\.mlp .*experts"):
        prunable_layers(MixtralForCausalLM(config))


class QuantisedLinear(torch.nn.Linear):
    pass


def test_a_special_linear_is_refused_by_name(tiny):
    tiny.model.layers[1].mlp.up_proj = QuantisedLinear(16, 24)
    with pytest.raises(UserError, match=r"not supported: model\.layers\.1\.mlp\.up_proj"):
        prunable_layers(tiny)


def test_a_packed_layer_is_refused_by_name(tiny):
    packed = torch.nn.Module()
    packed.register_buffer("qweight", torch.zeros(4, 4, dtype=torch.int32))
    tiny.model.layers[0].mlp.up_proj = packed
    with pytest.raises(
        UserError, match=r"not supported: model\.layers\.0\.mlp\.up_proj.*quantised"
    ):
        prunable_layers(tiny)


def test_a_model_without_blocks_is_refused(tiny):
    with pytest.raises(UserError, match="no list of 2 decoder blocks"):
        tiny.model.layers = torch.nn.ModuleList()
        prunable_layers(tiny)
    with pytest.raises(UserError, match="not a transformers model"):
        prunable_layers(torch.nn.Linear(2, 2))
