"""Read one checkpoint, a folder or a hub id, and refuse what is not a decoder language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from pruner_zero.errors import UserError
from pruner_zero.hub import first_line

_DECODER_SUFFIXES = ("ForCausalLM", "LMHeadModel")


def check_folder(folder: Path) -> None:
    """Check a local folder before its weights are read.

    Args:
        folder: an existing folder.

    Raises:
        UserError: no or unreadable ``config.json``, not a decoder language model, no weights.
    """
    from transformers import AutoConfig

    description = folder / "config.json"
    if not description.is_file():
        raise UserError(f"{folder} is not a model folder: it has no config.json")
    try:
        if not isinstance(json.loads(description.read_text(encoding="utf-8")), dict):
            raise ValueError("not a JSON object")
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{description} cannot be read: {first_line(error)}") from error
    check_config(config, str(folder))
    if not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin")):
        raise UserError(f"{folder} has a config.json but no weights (*.safetensors or *.bin)")


def check_config(config: Any, name: str) -> None:
    """Check that a config describes a decoder-only language model with plain weights.

    Args:
        config: a transformers config.
        name: the model's name, for messages.

    Raises:
        UserError: encoder, encoder-decoder, another head, or quantised weights.
    """
    from transformers import AutoModelForCausalLM

    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"'{name}' is an encoder-decoder ({config.model_type}), not a decoder language model"
        )
    architectures = getattr(config, "architectures", None) or []
    if architectures and not any(kind.endswith(_DECODER_SUFFIXES) for kind in architectures):
        raise UserError(
            f"'{name}' is a {architectures[0]}, not a decoder language model (…ForCausalLM)"
        )
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise UserError(f"'{name}' ({config.model_type}) is not a decoder language model")
    if getattr(config, "quantization_config", None):
        raise UserError(f"'{name}' has quantised weights, which are not supported: use the original")


def from_checkpoint(
    name: str, dtype: torch.dtype, *, local_files_only: bool = False, **options: Any
) -> tuple[Any, Any]:
    """Read tokenizer and model on the CPU.

    Args:
        name: a folder or a hub id, already checked.
        dtype: dtype of the weights.
        local_files_only: never ask the hub.
        options: passed to both ``from_pretrained`` calls (``gguf_file``).

    Returns:
        The model and its tokenizer.

    Raises:
        UserError: no tokenizer, one that belongs to another model, unreadable or missing weights.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options |= {"local_files_only": local_files_only, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
    except Exception as error:  # each tokenizer class fails in its own way on missing files
        raise UserError(f"'{name}' has no usable tokenizer: {first_line(error)}") from error
    if not tokenizer("a b", add_special_tokens=False)["input_ids"]:
        raise UserError(f"'{name}' has no usable tokenizer: it turns text into nothing")
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, KeyError) as error:
        raise UserError(f"the weights of '{name}' cannot be read: {first_line(error)}") from error
    # Missing weights would be filled with random numbers and every result would be wrong.
    absent = sorted(report["missing_keys"])
    if absent:
        raise UserError(f"'{name}' lacks {len(absent)} weights, the first is {absent[0]}")
    vocabulary = model.get_input_embeddings().weight.shape[0]
    if tokenizer.vocab_size > vocabulary:
        raise UserError(
            f"the tokenizer of '{name}' has {tokenizer.vocab_size:,} entries but the model only "
            f"{vocabulary:,}: they do not belong together"
        )
    return model, tokenizer
