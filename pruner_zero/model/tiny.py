"""A tiny random LLaMA with a byte tokenizer: the complete program in seconds, no download."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

RANDOM_TINY_NAME = "random-tiny"
_SPECIALS = ("<unk>", "<s>", "</s>")
_SEED = 20240605  # fixed: "random-tiny" names one model, not one per run


def random_tiny(blocks: int = 2) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Build the model and its tokenizer on the CPU; the global random state is left alone.

    Args:
        blocks: number of decoder blocks.

    Returns:
        A LLaMA with hidden width 32, 4 heads, 2 key-value heads, intermediate width 64, tied
        embeddings of 259 tokens in float32, and a tokenizer with one token per byte.
    """
    config = LlamaConfig(
        vocab_size=len(_SPECIALS) + 256,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        # Ten times the usual width: with nearly zero weights no pruning would change a thing.
        initializer_range=0.2,
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = LlamaForCausalLM(config)
    return model, byte_tokenizer()


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with three special tokens and one token for each of the 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIALS, *letters])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
