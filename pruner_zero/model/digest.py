"""The identity of a pruned model: same masks, same model, same perplexity, same digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from torch import Tensor

from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.packed import pack


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
        self._hash.update(pack(mask).numpy().data)

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
