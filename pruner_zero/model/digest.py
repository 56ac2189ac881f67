"""The identity of a pruned model: same masks, same model, same perplexity, same digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from pruner_zero.model.layers import PrunableLayer

_BITS = (128, 64, 32, 16, 8, 4, 2, 1)


class MaskDigest:
    """Folds masks into one digest as they stream by; the order of the layers counts."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def update(self, name: str, mask: Tensor) -> None:
        """Fold in one layer.

        Args:
            name: the layer's name.
            mask: bool, any device.
        """
        self._hash.update(f"{name}{tuple(mask.shape)}".encode())
        self._hash.update(_packed(mask).data)

    def hexdigest(self) -> str:
        """Return the digest of all masks so far, 32 hexadecimal characters."""
        return self._hash.hexdigest()


def mask_digest(masks: Iterable[tuple[PrunableLayer, Tensor]]) -> str:
    """Digest of a stream of masks.

    Args:
        masks: layers and their bool masks, as ``prune_masks`` yields them.

    Returns:
        32 hexadecimal characters; equal for equal masks of equal layers in equal order.
    """
    digest = MaskDigest()
    for layer, mask in masks:
        digest.update(layer.name, mask)
    return digest.hexdigest()


def _packed(mask: Tensor) -> np.ndarray:
    if mask.device.type == "cpu":
        return np.packbits(mask.numpy())
    # Packing on the device moves an eighth of the bytes. Bit order is that of numpy.packbits.
    flat = torch.nn.functional.pad(mask.reshape(-1).to(torch.uint8), (0, -mask.numel() % 8))
    weights = torch.tensor(_BITS, dtype=torch.uint8, device=mask.device)
    return (flat.view(-1, 8) * weights).sum(dim=1, dtype=torch.uint8).cpu().numpy()
