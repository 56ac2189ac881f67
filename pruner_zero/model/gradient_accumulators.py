"""Running sums of gradients, folded in the moment they arrive: the terminals G and R."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruner_zero.model.hooks import LayerHooks, never_ran
from pruner_zero.model.layers import PrunableLayer

GRADIENT_TERMINALS = frozenset("GR")
"""Terminals that need a backward pass; they are always the dense model's."""


class GradientNorms(LayerHooks):
    """G of each layer, summed as gradients arrive: each is folded in and freed at once.

    It may be entered several times; the sums go on.

    Args:
        layers: layers whose weights require gradients.
        norm: ``l2`` for ``sqrt(Σ_s (scale·g_s)²)``, ``l1`` for ``Σ_s |scale·g_s|``.
        scale: factor on every gradient.
    """

    def __init__(self, layers: Sequence[PrunableLayer], norm: str, scale: float) -> None:
        super().__init__(layers)
        self._norm = norm
        self._scale = scale
        self._sums: dict[str, Tensor] = {}

    def _attach(self, layer: PrunableLayer) -> torch.utils.hooks.RemovableHandle:
        weight = layer.weight
        if layer.name in self._sums:
            total = self._sums[layer.name].to(weight.device)
        else:
            total = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        self._sums[layer.name] = total

        def fold(parameter: Tensor) -> None:
            if parameter.grad is None:
                return
            gradient = parameter.grad.float().mul_(self._scale)
            parameter.grad = None
            total.add_(gradient.abs_()) if self._norm == "l1" else total.addcmul_(
                gradient, gradient
            )

        return weight.register_post_accumulate_grad_hook(fold)

    def to(self, device: torch.device | str) -> None:
        """Keep the sums on another device until the next entry."""
        self._sums = {name: total.to(device) for name, total in self._sums.items()}

    def result(self) -> dict[str, Tensor]:
        """Hand out layer name → G, [out, in] float32: without a copy, and once."""
        sums, self._sums = self._sums, {}
        return {k: total.sqrt_() for k, total in sums.items()} if self._norm == "l2" else sums


class OutputGradients(LayerHooks):
    """R of each layer: ``(1/N) Σ_s Σ_t (scale · ∂loss_s/∂y[s,t,i])²``, y the layer's output.

    Mean over sequences of a squared norm over tokens, as X is on the input side; each sequence's
    own mean loss and the same scale, as in G. Works with or without gradients of the weights.

    Args:
        layers: the layers.
        scale: factor on every gradient.
    """

    def __init__(self, layers: Sequence[PrunableLayer], scale: float) -> None:
        super().__init__(layers)
        self._scale = scale
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def _attach(self, layer: PrunableLayer) -> torch.utils.hooks.RemovableHandle:
        def fold(gradient: Tensor) -> None:
            scaled = gradient.detach().reshape(-1, gradient.shape[-1]).float() * self._scale
            total = self._sums.get(layer.name, torch.zeros_like(scaled[0]))
            self._sums[layer.name] = total + scaled.square().sum(dim=0)
            self._counts[layer.name] = self._counts.get(layer.name, 0) + 1

        def after(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            del module, args
            if not output.requires_grad:
                # No weight before it is trained: gradients begin here. The clone is no leaf, so
                # the model may change it in place.
                output = output.detach().requires_grad_().clone()
            output.register_hook(fold)
            return output

        return layer.module.register_forward_hook(after)

    def result(self) -> dict[str, Tensor]:
        """Return layer name → R, [out, 1] float32.

        Raises:
            UserError: a layer had no part in the loss.
        """
        for layer in self.layers:
            if layer.name not in self._sums:
                raise never_ran(layer)
        return {
            name: (total / self._counts[name]).unsqueeze(1) for name, total in self._sums.items()
        }
