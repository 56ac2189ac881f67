"""Hooks on prunable layers that live only inside a with block."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.layers import PrunableLayer


class LayerHooks(ABC):
    """One hook per layer, removed at the end of the ``with`` block."""

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        self.layers = tuple(layers)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    @abstractmethod
    def _attach(self, layer: PrunableLayer) -> torch.utils.hooks.RemovableHandle:
        """Hook one layer."""

    def __enter__(self) -> LayerHooks:
        self._handles = [self._attach(layer) for layer in self.layers]
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks, and let go of what only they needed."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


class LayerInputs(LayerHooks):
    """Hands every layer's input to a function, as the layer sees it.

    Layers that are called one after another with the same tensor (query, key and value) get the
    same converted tensor, so that whoever consumes it can tell.

    Args:
        layers: the layers to listen to.
        consume: called with the layer and its input as float32 [tokens, in].
    """

    def __init__(
        self, layers: Sequence[PrunableLayer], consume: Callable[[PrunableLayer, Tensor], None]
    ) -> None:
        super().__init__(layers)
        self._consume = consume
        self._source: Callable[[], Tensor | None] = lambda: None
        self._version = 0
        self._converted = torch.empty(0)

    def _attach(self, layer: PrunableLayer) -> torch.utils.hooks.RemovableHandle:
        def before(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            del module
            self._consume(layer, self._convert(args[0]))

        return layer.module.register_forward_pre_hook(before)

    def close(self) -> None:
        """Remove the hooks and forget the latest input."""
        super().close()
        self._source, self._converted = lambda: None, torch.empty(0)

    def _convert(self, inputs: Tensor) -> Tensor:
        if self._source() is not inputs or self._version != inputs._version:
            self._source, self._version = weakref.ref(inputs), inputs._version
            self._converted = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        return self._converted


def never_ran(layer: PrunableLayer) -> UserError:
    """Say that a layer was not reached while the model ran."""
    return UserError(f"not supported: {layer.name} takes no part in the forward pass")
