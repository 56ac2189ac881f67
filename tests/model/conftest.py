from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pruner_zero.model.layers import PrunableLayer


def tiny_llama(seed: int = 0, **changes) -> LlamaForCausalLM:
    config = LlamaConfig(
        **{
            "vocab_size": 61,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "initializer_range": 0.3,
            **changes,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def linear_layer(weight: torch.Tensor, name: str = "layer", block: int = 0) -> PrunableLayer:
    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight.data = weight.clone().float()
    return PrunableLayer(f"model.layers.{block}.{name}", name, block, 2, module)


@pytest.fixture
def tiny() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 61, (3, 12), generator=torch.Generator().manual_seed(1))
