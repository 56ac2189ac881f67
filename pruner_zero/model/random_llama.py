"""LLaMA shapes with random weights: what speed and memory depend on, without any download."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pruner_zero.model.tiny import byte_tokenizer

_SEED = 20240605  # fixed: each name is one model per device type and dtype
# Width, inner width, blocks, heads, key-value heads, positions; in this order.
_SHAPES = {
    "random-llama-1b": (2048, 5632, 22, 32, 4, 2048),  # TinyLlama-1.1B
    "random-llama-7b": (4096, 11008, 32, 32, 32, 4096),  # LLaMA-2-7B
    "random-llama-70b": (8192, 28672, 80, 64, 8, 4096),  # LLaMA-2-70B
}
RANDOM_LLAMAS = tuple(_SHAPES)


def llama_skeleton(
    name: str, dtype: torch.dtype
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A model of shapes alone, on the meta device, and a tokenizer with one token per byte.

    Args:
        name: one of ``RANDOM_LLAMAS``.
        dtype: of the weights.
    """
    width, inner, blocks, heads, groups, positions = _SHAPES[name]
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=positions,
        vocab_size=32000,
        use_cache=False,
    )
    return empty_llama(config, dtype), byte_tokenizer()


def empty_llama(config: LlamaConfig, dtype: torch.dtype) -> LlamaForCausalLM:
    """A LLaMA of shapes alone, on the meta device."""
    with torch.device("meta"):
        skeleton: Any = LlamaForCausalLM(config)
    return skeleton.to(dtype)


@torch.no_grad()
def fill_randomly(model: nn.Module, device: torch.device) -> None:
    """Give a skeleton random weights, made where and as they will be used; no copy is converted.

    Args:
        model: a LLaMA on the meta device; changed in place.
        device: where its weights will be.
    """
    causal: Any = model
    config = causal.config
    causal.to_empty(device=device)
    # Frequencies are computed, not learnt: they are no part of the shapes.
    causal.model.rotary_emb = type(causal.model.rotary_emb)(config).to(device)
    generator = torch.Generator(device).manual_seed(_SEED)
    for parameter in causal.parameters():
        if parameter.dim() == 1:
            parameter.fill_(1)  # norms
        else:
            parameter.normal_(0, config.initializer_range, generator=generator)
