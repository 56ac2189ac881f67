"""Masks on the model's weights: for good, or for a while with the dense weights put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.masks import LayerMask

Mend: TypeAlias = Callable[[PrunableLayer, Tensor, Tensor], Tensor]
"""Gives a layer's pruned and updated weight, [out, in], for its dense weight and its mask."""
UpdatedLayer: TypeAlias = tuple[PrunableLayer, Tensor, Tensor]
"""A layer with its mask and its pruned and updated weight, both [out, in]."""
_Item = TypeVar("_Item", LayerMask, UpdatedLayer)
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def apply_masks(masks: Iterable[LayerMask]) -> None:
    """Set masked weights to zero, for good.

    Args:
        masks: layers and bool masks [out, in], True where pruned.
    """
    for layer, mask in masks:
        zero_weights(layer.weight.detach(), mask.to(layer.weight.device))


@torch.no_grad()
def _replace(updated: Iterable[UpdatedLayer]) -> None:
    for layer, _, weight in updated:
        layer.weight.copy_(weight)


def zero_weights(weight: Tensor, mask: Tensor) -> None:
    """Set masked weights to +0 in place.

    On the CPU by clearing their bits, which is vectorised: ``masked_fill_`` is not and takes
    twenty times as long.

    Args:
        weight: [out, in], floating point.
        mask: bool [out, in] on the same device, True where the weight goes.
    """
    if weight.device.type != "cpu":
        weight.masked_fill_(mask, 0)
        return
    keep = mask.view(torch.int8) - 1  # 0 where pruned, else all bits set, also when widened
    weight.view(_INTEGERS[weight.element_size()]).bitwise_and_(keep)


class DenseWeights:
    """The one copy of the dense weights, from which every pruned model is made and undone.

    Args:
        layers: the prunable layers, dense now. Their weights are copied where they are.
        copies: copies that exist already, by the weights' names in the model; they are only read.
    """

    def __init__(
        self, layers: Sequence[PrunableLayer], copies: Mapping[str, Tensor] | None = None
    ) -> None:
        self.layers = tuple(layers)
        self._dense = {
            layer.name: copies[f"{layer.name}.weight"] if copies else layer.weight.detach().clone()
            for layer in self.layers
        }

    def weight(self, layer: PrunableLayer) -> Tensor:
        """The dense weight of a layer, [out, in], whatever the model holds at the moment."""
        return self._dense[layer.name]

    def resident_on(self, kind: str) -> bool:
        """Whether all dense weights are held on a kind of device, such as ``"cuda"``."""
        return bool(self._dense) and all(w.device.type == kind for w in self._dense.values())

    def pruned(
        self, masks: Iterable[LayerMask], mend: Mend | None = None
    ) -> AbstractContextManager[None]:
        """Prune the model inside a ``with`` block.

        The dense weights are back after it bit for bit, also when the block, or making the masks,
        raises.

        Args:
            masks: layers and bool masks [out, in]; may be a stream that is scored as it goes.
            mend: updates the weights that remain; None leaves them as they are.
        """
        if mend is None:
            return self._borrowed(masks, apply_masks)
        return self.replaced(
            (layer, mask, mend(layer, self.weight(layer), mask)) for layer, mask in masks
        )

    def replaced(self, updated: Iterable[UpdatedLayer]) -> AbstractContextManager[None]:
        """As `pruned`, with the weights that take the place of the dense ones.

        Args:
            updated: layers, bool masks [out, in] and weights [out, in]; may be a stream.
        """
        return self._borrowed(updated, _replace)

    @contextmanager
    def _borrowed(
        self, stream: Iterable[_Item], change: Callable[[Iterable[_Item]], None]
    ) -> Iterator[None]:
        """Change the layers that begin the stream's items; they are dense again afterwards."""
        touched: list[PrunableLayer] = []

        def noted() -> Iterator[_Item]:
            for item in stream:
                touched.append(item[0])
                yield item

        try:
            change(noted())
            yield
        finally:
            self.restore(touched)

    def to(self, device: torch.device | str) -> None:
        """Keep the dense weights on another device."""
        self._dense = {name: weight.to(device) for name, weight in self._dense.items()}

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The model may be changed at will inside a ``with`` block; it is dense after it."""
        try:
            yield
        finally:
            self.restore()

    @torch.no_grad()
    def restore(self, layers: Iterable[PrunableLayer] | None = None) -> None:
        """Put the dense weights back.

        Args:
            layers: which layers; all by default.
        """
        chosen = self.layers if layers is None else tuple(layers)
        if chosen:
            torch._foreach_copy_(
                [layer.weight for layer in chosen], [self._dense[layer.name] for layer in chosen]
            )
