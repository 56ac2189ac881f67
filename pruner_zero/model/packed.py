"""Masks as bits: an eighth of a byte per weight, to be kept on the host or digested."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pruner_zero.model.layers import PrunableLayer

_BITS = (128, 64, 32, 16, 8, 4, 2, 1)  # the order of numpy.packbits
_GATHER = 0x8040201008040201 - (1 << 64)  # as a signed integer


def pack(mask: Tensor) -> Tensor:
    """Pack a mask.

    Args:
        mask: bool, of any shape, on any device.

    Returns:
        Uint8 [ceil(numel / 8)] on the CPU; the last byte is filled up with zeros.
    """
    if mask.device.type == "cpu":
        return torch.from_numpy(np.packbits(mask.numpy()))
    return pack_together([mask])[0]


def pack_together(masks: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Pack masks of one device there, an eighth of the bytes, and fetch them all at once.

    Args:
        masks: bool, of any shapes.

    Returns:
        Each packed, see `pack`.
    """
    flat = [_whole_bytes(mask.reshape(-1)) for mask in masks]
    # Eight bytes of 0 or 1 are one integer; the product moves the first to the highest bit of its
    # top byte, the last to the lowest, and no two of its terms meet in one bit.
    eights = torch.cat(flat).view(torch.int64)
    bits = ((eights * _GATHER) >> 56).to(torch.uint8).cpu()
    return bits.split([len(piece) // 8 for piece in flat])


def _whole_bytes(flat: Tensor) -> Tensor:
    missing = -len(flat) % 8
    return F.pad(flat, (0, missing)) if missing else flat


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
