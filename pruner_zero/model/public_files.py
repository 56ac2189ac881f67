"""Gradient files of the public Pruner-Zero code, read and written, so that they move both ways.

The format: ``torch.save`` of a dictionary ``"{name}_layer_{i}"`` → [out, in] float16.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.layers import check_same_layer, prunable_layers
from pruner_zero.model.scoring import terminal_of
from pruner_zero.model.statistics import Statistics


def read_gradient_file(path: str | Path, model: nn.Module) -> Statistics:
    """Read G of a model from a public gradient file.

    Args:
        path: the file; it is loaded with ``weights_only=True``, so no code in it can run.
        model: the model that the gradients were measured on.

    Returns:
        Statistics with G alone, float32 on the CPU.

    Raises:
        UserError: not such a file, a layer of the model that is missing in it, another shape, or
            values that are not finite; the message names the layer.
    """
    table = _load(Path(path))
    gradients = {}
    for layer in prunable_layers(model):
        if layer.public_key not in table:
            raise UserError(
                f"{path} has no gradient '{layer.public_key}': it was measured on another model"
            )
        value = table[layer.public_key]
        check_same_layer(layer, value, f"{path}: gradient")
        if not bool(value.isfinite().all()):
            raise UserError(f"{path}: gradient '{layer.public_key}' has values that are not finite")
        gradients[layer.name] = value.float()
    return Statistics({"G": gradients}, provenance={"gradient_file": Path(path).name})


def write_gradient_file(path: str | Path, statistics: Statistics, model: nn.Module) -> None:
    """Write G of a model as a public gradient file.

    Args:
        path: where to; its folder is made when missing.
        statistics: with G.
        model: the model that they were measured on.

    Raises:
        UserError: a layer's gradient is missing, or too large for the format's float16.
    """
    table = {}
    for layer in prunable_layers(model):
        value = terminal_of(statistics, layer, "G").cpu().to(torch.float16)
        if not bool(value.isfinite().all()):
            raise UserError(
                f"the gradient of {layer.name} is too large for float16: "
                "measure it with a smaller scale"
            )
        table[layer.public_key] = value
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(table, target)


def _load(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"gradient file '{path}' does not exist")
    try:
        table = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        ValueError,
    ) as error:
        first = str(error).strip().splitlines()[:1]
        raise UserError(f"'{path}' is not a gradient file: {' '.join(first)[:120]}") from None
    if not isinstance(table, dict) or not all(isinstance(v, Tensor) for v in table.values()):
        raise UserError(f"'{path}' is not a gradient file: it holds no table of tensors")
    return table
