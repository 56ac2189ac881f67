"""Masks as bits: an eighth of a byte per weight, to be kept on the host or digested."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from pruner_zero.model.layers import PrunableLayer

_BITS = (128, 64, 32, 16, 8, 4, 2, 1)  # the order of numpy.packbits


def pack(mask: Tensor) -> Tensor:
    """Pack a mask.

    Args:
        mask: bool, of any shape, on any device.

    Returns:
        Uint8 [ceil(numel / 8)] on the CPU; the last byte is filled up with zeros.
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(np.packbits(mask.numpy()))
    # Packing on the device moves an eighth of the bytes.
    flat = torch.nn.functional.pad(mask.reshape(-1).to(torch.uint8), (0, -mask.numel() % 8))
    weights = torch.tensor(_BITS, dtype=torch.uint8, device=mask.device)
    return (flat.view(-1, 8) * weights).sum(dim=1, dtype=torch.uint8).cpu()


def unpack(packed: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Undo `pack` on a device.

    Args:
        packed: uint8, as `pack` returns it.
        shape: of the mask.
        device: where the mask is wanted.

    Returns:
        Bool, of that shape.
    """
    count = math.prod(shape)
    if device.type == "cpu":
        bits = np.unpackbits(packed.numpy(), count=count)
        return torch.from_numpy(bits.view(np.bool_)).view(shape)
    weights = torch.tensor(_BITS, dtype=torch.uint8, device=device)
    bytes_ = packed.to(device, non_blocking=True)
    return (bytes_.unsqueeze(1) & weights).ne(0).view(-1)[:count].view(shape)


def kept(masks: Iterable[tuple[PrunableLayer, Tensor]]) -> Iterator[tuple[PrunableLayer, Tensor]]:
    """Make all masks of a stream now and keep them as bits.

    Args:
        masks: layers and bool masks [out, in].

    Returns:
        The same again, unpacked one at a time.
    """
    bits = [(layer, pack(mask), mask.device) for layer, mask in masks]
    return ((layer, unpack(packed, layer.shape, device)) for layer, packed, device in bits)
