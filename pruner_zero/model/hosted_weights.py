"""The dense weights of a model with hosted blocks: the host's own, never copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.hosted import HostedBlocks, hosted_blocks
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.masks import LayerMask
from pruner_zero.model.obs_update import NO_HOST
from pruner_zero.model.packed import pack
from pruner_zero.model.pruning import DenseWeights, Mend, UpdatedLayer


class HostedWeights(DenseWeights):
    """As `DenseWeights`, but pruning lays masks over the blocks that visit the device.

    Args:
        hosted: the model's blocks, dense.
        layers: the prunable layers.
    """

    def __init__(self, hosted: HostedBlocks, layers: Sequence[PrunableLayer]) -> None:
        self.layers = tuple(layers)
        self._dense = {}
        self._hosted = hosted

    def weight(self, layer: PrunableLayer) -> Tensor:
        """The dense weight of a layer, [out, in], on the device."""
        return layer.weight.detach().to(self._hosted.device, non_blocking=True)

    @contextmanager
    def pruned(self, masks: Iterable[LayerMask], mend: Mend | None = None) -> Iterator[None]:
        """Prune the model inside a ``with`` block; see `DenseWeights.pruned`.

        The masks are kept as bits on the host.

        Raises:
            UserError: an update is asked for.
        """
        if mend is not None:
            raise UserError(NO_HOST)
        packed = {layer.name: pack(mask) for layer, mask in masks}
        with self._hosted.masked(packed):
            yield

    def replaced(self, updated: Iterable[UpdatedLayer]) -> AbstractContextManager[None]:
        """Not here.

        Raises:
            UserError: always; there is no second copy to go back to.
        """
        raise UserError(NO_HOST)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """See `DenseWeights.lent`; the weights are copied on the host for so long."""
        self._dense = {layer.name: layer.weight.detach().clone() for layer in self.layers}
        try:
            yield
        finally:
            self.restore()
            self._dense = {}


def dense_weights(model: nn.Module, layers: Sequence[PrunableLayer]) -> DenseWeights:
    """The dense weights of a model, wherever its blocks are.

    Args:
        model: dense now.
        layers: its prunable layers.
    """
    hosted = hosted_blocks(model)
    return HostedWeights(hosted, layers) if hosted else DenseWeights(layers)
