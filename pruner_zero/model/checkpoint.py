"""Read one checkpoint, a folder or a hub id, and refuse what is not a decoder language model."""

from __future__ import annotations

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
    description = folder / "config.json"
    if not description.is_file():
        raise UserError(f"{folder} is not a model folder: it has no config.json")
    check_config(read_config(str(folder)), str(folder))
    if not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin")):
        raise UserError(f"{folder} has a config.json but no weights (*.safetensors or *.bin)")


def read_config(name: str, *, local_files_only: bool = False) -> Any:
    """Read the config of a checkpoint.

    Args:
        name: a folder or a hub id.
        local_files_only: never ask the hub.

    Returns:
        A transformers config.

    Raises:
        UserError: absent or unreadable, an unknown kind of model, or one that brings own code.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            name, trust_remote_code=False, local_files_only=local_files_only
        )
    except Exception as error:  # bad values surface as many kinds, some from other libraries
        if "trust_remote_code" in str(error):
            raise UserError(f"'{name}' needs code of its own, which is never executed") from error
        raise UserError(f"the config of '{name}' cannot be read: {first_line(error)}") from error


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
        raise UserError(
            f"'{name}' has quantised weights, which are not supported: use the original"
        )


def from_checkpoint(
    source: str,
    dtype: torch.dtype,
    *,
    local_files_only: bool = False,
    gguf_file: str | None = None,
) -> tuple[Any, Any]:
    """Read tokenizer and model on the CPU.

    Args:
        source: a folder or a hub id, already checked.
        dtype: dtype of the weights.
        local_files_only: never ask the hub.
        gguf_file: name of a GGUF file in the folder, to read instead of a checkpoint.

    Returns:
        The model and its tokenizer.

    Raises:
        UserError: no tokenizer, one that belongs to another model, unreadable or missing weights.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = str(Path(source, gguf_file)) if gguf_file else source
    options: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
    if gguf_file:
        options["gguf_file"] = gguf_file
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # each tokenizer class fails in its own way on missing files
        problem = "cannot be read" if gguf_file else "has no usable tokenizer"
        raise UserError(f"'{name}' {problem}: {first_line(error)}") from error
    if not tokenizer("a b", add_special_tokens=False)["input_ids"]:
        raise UserError(f"'{name}' has no usable tokenizer: it turns text into nothing")
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, in a sentence of our own
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, KeyError) as error:
        raise UserError(f"the weights of '{name}' cannot be read: {first_line(error)}") from error
    model, report = loaded
    # Missing weights would be filled with random numbers and every result would be wrong.
    absent = sorted(report["missing_keys"])
    if absent:
        raise UserError(f"'{name}' lacks {len(absent)} weights, the first is {absent[0]}")
    if report["mismatched_keys"]:
        weight, stored, expected = min(report["mismatched_keys"])
        raise UserError(
            f"'{name}' does not fit its config: {weight} is {list(stored)}, not {list(expected)}"
        )
    vocabulary = model.get_input_embeddings().weight.shape[0]
    if tokenizer.vocab_size > vocabulary:
        raise UserError(
            f"the tokenizer of '{name}' has {tokenizer.vocab_size:,} entries but the model only "
            f"{vocabulary:,}: they do not belong together"
        )
    return model, tokenizer
