"""Decoder blocks that stay on the host and visit the device one at a time.

A model larger than its device runs this way: embeddings, norms and output layer (the frame) live on
the device, every decoder block lives in the host's memory, pinned where there is CUDA. Whatever
runs a block copies its weights to the device, works, and drops the copy; what is on the host does
not change, so it is at the same time the dense model. Masks are laid over the copy.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pruner_zero.model.layers import PrunableLayer, find_blocks, prunable_layers
from pruner_zero.model.packed import unpack
from pruner_zero.model.pruning import zero_weights

if TYPE_CHECKING:
    from pruner_zero.model.chain import DecoderChain

_ATTRIBUTE = "pruner_zero_hosted"


def hosted_blocks(model: nn.Module) -> HostedBlocks | None:
    """The model's hosted blocks, or None when the whole model is where its embeddings are."""
    return getattr(model, _ATTRIBUTE, None)


class HostedBlocks:
    """A model whose blocks are on the host; running it, whole or in parts, works as ever.

    Args:
        model: a decoder-only model, anywhere; it is changed in place and stays so.
        device: where its blocks compute, and where the frame is.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.blocks = find_blocks(model)
        self.device = device
        self.chain: DecoderChain | None = None  # what `DecoderChain.of` has learnt
        self._layers: dict[int, list[PrunableLayer]] = {}
        for layer in prunable_layers(model):
            self._layers.setdefault(layer.block, []).append(layer)
        self._masks: Mapping[str, Tensor] = {}
        self._visitor: int | None = None
        self._place(model)
        for index, block in enumerate(self.blocks):
            block.forward = functools.wraps(block.forward)(
                functools.partial(self._forward, index, block.forward)
            )
        setattr(model, _ATTRIBUTE, self)

    @contextmanager
    def visit(self, index: int, keep: bool = False) -> Iterator[None]:
        """One block's weights are on the device inside a ``with`` block, masked where masks lie.

        Args:
            index: of the block. It may be visiting already; then nothing happens here.
            keep: what was changed goes back to the host.
        """
        if self._visitor == index:
            yield
            return
        parameters = list(self.blocks[index].parameters())
        hosts = [parameter.data for parameter in parameters]
        before, self._visitor = self._visitor, index
        try:
            for parameter, host in zip(parameters, hosts, strict=True):
                parameter.data = copied(host, self.device)
            self._mask(index)
            yield
            if keep:
                for parameter, host in zip(parameters, hosts, strict=True):
                    host.copy_(parameter.data)
        finally:
            for parameter, host in zip(parameters, hosts, strict=True):
                parameter.data = host
            self._visitor = before

    @contextmanager
    def masked(self, packed: Mapping[str, Tensor]) -> Iterator[None]:
        """Blocks are pruned when they visit, inside a ``with`` block.

        Args:
            packed: layer name → its mask as `pack` made it.
        """
        before, self._masks = self._masks, packed
        try:
            yield
        finally:
            self._masks = before

    def _forward(self, index: int, forward: Any, *args: Any, **kwargs: Any) -> Any:
        with self.visit(index):
            return forward(*args, **kwargs)

    @torch.no_grad()
    def _mask(self, index: int) -> None:
        for layer in self._layers.get(index, ()):
            if (packed := self._masks.get(layer.name)) is not None:
                zero_weights(layer.weight.detach(), unpack(packed, layer.shape, self.device))

    def _place(self, model: nn.Module) -> None:
        inside = {id(parameter) for parameter in self.blocks.parameters()}
        for parameter in model.parameters():
            if id(parameter) in inside:
                parameter.data = _pinned(parameter.data.cpu(), self.device)
            else:
                parameter.data = parameter.data.to(self.device)
        # Buffers are small (frequencies of rotary embeddings) and not worth the traffic.
        for module in model.modules():
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to(self.device)


def copied(host: Tensor, device: torch.device) -> Tensor:
    """A copy on the device that owes nothing to the host's tensor, also where both are the CPU."""
    return torch.empty_like(host, device=device).copy_(host, non_blocking=True)


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        # Some systems limit what may be pinned; from pageable memory the copies are slower.
        with contextlib.suppress(RuntimeError):
            return tensor.pin_memory()
    return tensor
