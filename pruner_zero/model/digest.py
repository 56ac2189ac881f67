"""The identity of a pruned model: same masks, same model, same perplexity, same digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

from torch import Tensor

from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.packed import pack, pack_together

_WAITING = 1 << 26
"""Weights whose masks wait on a GPU to be fetched at once: 64 MB of masks, 8 MB of bits."""
_THREADS = min(8, os.cpu_count() or 1)


class MaskDigest:
    """Folds masks into one digest as they stream by; the order of the layers counts.

    Each layer has a digest of its own, and all of them together make the digest.
    """

    def __init__(self) -> None:
        self._layers: list[bytes | Future[bytes]] = []
        self._waiting: list[tuple[str, Tensor]] = []
        self._weights = 0

    def update(self, name: str, mask: Tensor) -> None:
        """Fold in one layer.

        Args:
            name: the layer's name.
            mask: bool, any device; on a GPU it must not be changed before `hexdigest`.
        """
        if mask.device.type == "cpu":
            self._fetch()
            self._layers.append(_digest([(name, mask.shape, pack(mask))]))
            return
        self._wait(name, mask)

    def hexdigest(self) -> str:
        """Return the digest of all masks so far, 32 hexadecimal characters."""
        self._fetch()
        made = (item.result() if isinstance(item, Future) else item for item in self._layers)
        return hashlib.sha256(b"".join(made)).hexdigest()[:32]

    def _wait(self, name: str, mask: Tensor) -> None:
        self._waiting.append((name, mask))
        self._weights += mask.numel()
        if self._weights >= _WAITING:
            self._fetch()

    def _fetch(self) -> None:
        """Fetch the bits of what waits; threads digest them while more masks are made."""
        if not self._waiting:
            return
        bits = pack_together([mask for _, mask in self._waiting])
        layers = [
            (name, mask.shape, packed)
            for (name, mask), packed in zip(self._waiting, bits, strict=True)
        ]
        # A task of several layers: to start one costs as much as to digest a small layer.
        size = -(-len(layers) // _THREADS)
        for start in range(0, len(layers), size):
            self._layers.append(_threads().submit(_digest, layers[start : start + size]))
        self._waiting, self._weights = [], 0


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


def _digest(layers: Sequence[tuple[str, tuple[int, ...], Tensor]]) -> bytes:
    """The digests of some layers, one after the other, of their names, shapes and bits."""
    made = []
    for name, shape, bits in layers:
        one = hashlib.sha256(f"{name}{tuple(shape)}".encode())
        one.update(bits.numpy().data)
        made.append(one.digest())
    return b"".join(made)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    # Hashing releases the interpreter's lock.
    return ThreadPoolExecutor(_THREADS, "digest")
