"""2:4 on a GPU: PyTorch's semi-structured tensors in the place of dense weights, and their speed.

NVIDIA GPUs from Ampere on multiply a matrix with two zeros in every four twice as fast, when it is
stored without them. Files keep the dense form, which loads everywhere; the conversion takes a
second and is made after loading.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.head import CausalHead
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.modes import evaluation_mode
from pruner_zero.model.sparsity import NofM, SparsityPattern

_AMPERE = (8, 0)
_LAST_OF_CUTLASS = (8, 9)


def check_pattern(pattern: SparsityPattern, device: torch.device) -> None:
    """Check what can be known before a model is loaded.

    Raises:
        UserError: another pattern than 2:4, no CUDA device, or one without sparse units.
    """
    if not (isinstance(pattern, NofM) and (pattern.n, pattern.m) == (2, 4)):
        raise UserError(f"accelerate_2of4=true needs sparsity=2:4, not {pattern}")
    if device.type != "cuda":
        raise UserError(
            f"accelerate_2of4=true needs a CUDA device, not {device.type}: drop it here, and "
            "convert where the model will run"
        )
    if torch.cuda.get_device_capability(device) < _AMPERE:
        raise UserError(
            f"accelerate_2of4=true: {torch.cuda.get_device_name(device)} has no sparse units, "
            "which came with Ampere (compute capability 8.0)"
        )


def check_layers(layers: Sequence[PrunableLayer]) -> None:
    """Check that every layer has a dtype and widths that PyTorch can convert.

    Raises:
        UserError: naming the first layer that does not fit.
    """
    limits = _backend()._DTYPE_SHAPE_CONSTRAINTS
    for layer in layers:
        limit = limits.get(layer.weight.dtype)
        if limit is None or layer.weight.dtype == torch.float32:
            raise UserError(
                "accelerate_2of4=true needs weights in bfloat16 or float16: set model.dtype"
            )
        rows, columns = layer.shape
        if rows % limit.sparse_min_rows or columns % limit.sparse_min_cols:
            raise UserError(
                f"accelerate_2of4=true: {layer.name} is {rows} x {columns}, and PyTorch converts "
                f"multiples of {limit.sparse_min_rows} x {limit.sparse_min_cols} only: drop it"
            )


def accelerate(layers: Sequence[PrunableLayer]) -> None:
    """Convert pruned weights in place; the layers can then be run and nothing else.

    Args:
        layers: on CUDA, with two zeros in every four inputs.

    Raises:
        UserError: PyTorch cannot convert them here.
    """
    base: Any = torch.sparse.SparseSemiStructuredTensor
    # PyTorch's own switch between its two sets of kernels.
    base._FORCE_CUTLASS = _backend() is torch.sparse.SparseSemiStructuredTensorCUTLASS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the interface calls itself a prototype
            for layer in layers:
                weight = torch.sparse.to_sparse_semi_structured(layer.weight.detach().contiguous())
                layer.module.weight = nn.Parameter(weight, requires_grad=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"accelerate_2of4=true: PyTorch cannot convert: {reason}") from error


def tokens_per_second(model: nn.Module, ids: Tensor, repeats: int = 10, warm_up: int = 3) -> float:
    """Speed of a forward pass through all blocks, without the output head.

    Args:
        model: a causal language model on its device.
        ids: [N, L] int64, all in one batch.
        repeats: passes that are timed; their median counts.
        warm_up: passes before them.
    """
    head = CausalHead.of(model)
    ids = ids.to(head.device)
    seconds = []
    with torch.no_grad(), evaluation_mode(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(warm_up + repeats):
            _wait(head.device)
            start = time.perf_counter()
            head.hidden(ids)
            _wait(head.device)
            seconds.append(time.perf_counter() - start)
    return ids.numel() / statistics.median(seconds[warm_up:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _backend() -> Any:
    """The class that ``to_sparse_semi_structured`` makes, whose limits on shapes are its own."""
    if torch.backends.cusparselt.is_available():
        return torch.sparse.SparseSemiStructuredTensorCUSPARSELT
    if torch.cuda.is_available() and torch.cuda.get_device_capability() > _LAST_OF_CUTLASS:
        raise UserError("accelerate_2of4=true: this PyTorch was built without cuSPARSELt")
    return torch.sparse.SparseSemiStructuredTensorCUTLASS
