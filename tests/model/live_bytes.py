"""Counts the bytes of all tensors that are alive at once, as operations make them."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LiveBytes(TorchDispatchMode):
    """Inside a ``with`` block: bytes alive now, and the peak, of storages that were made in it.

    What existed before, weights of a model say, does not count.
    """

    def __init__(self, *existing: torch.Tensor) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._seen: dict[int, weakref.ref] = {}
        for tensor in existing:
            self._seen[tensor.untyped_storage()._cdata] = weakref.ref(tensor.untyped_storage())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        for tensor in tree_flatten((args, kwargs or {}))[0]:
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.untyped_storage()._cdata not in self._seen
            ):
                self._seen[tensor.untyped_storage()._cdata] = weakref.ref(tensor.untyped_storage())
        return result

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen and self._seen[key]() is not None:
            return
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_ref, key=key, size=size):
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, gone)
