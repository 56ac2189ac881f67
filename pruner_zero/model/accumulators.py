"""Running sums over calibration sequences, fed by hooks that live only inside a with block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.layers import PrunableLayer


class _Hooks:
    """Hooks that exist only inside a ``with`` block."""

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        self.layers = tuple(layers)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def _attach(self, layer: PrunableLayer) -> torch.utils.hooks.RemovableHandle:
        raise NotImplementedError

    def __enter__(self) -> _Hooks:
        self._handles = [self._attach(layer) for layer in self.layers]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


class LayerInputs(_Hooks):
    """Hands every layer's input to a function, as the layer sees it.

    Args:
        layers: the layers to listen to.
        consume: called with the layer and its input as float32 [tokens, in].
    """

    def __init__(
        self, layers: Sequence[PrunableLayer], consume: Callable[[PrunableLayer, Tensor], None]
    ) -> None:
        super().__init__(layers)
        self._consume = consume

    def _attach(self, layer: PrunableLayer) -> torch.utils.hooks.RemovableHandle:
        def before(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            del module
            inputs = args[0].detach()
            self._consume(layer, inputs.reshape(-1, inputs.shape[-1]).float())

        return layer.module.register_forward_pre_hook(before)


class ActivationNorms(LayerInputs):
    """X of each layer: ``(1/N) Σ_s Σ_t x[s,t,j]²`` (Wanda's squared input norm, not rooted)."""

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        super().__init__(layers, self._add)
        self._means: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def _add(self, layer: PrunableLayer, inputs: Tensor) -> None:
        # A running mean of squared norms, operation by operation as in the public code: in the
        # sequential flow a last bit that differs grows from block to block into other masks.
        count = self._counts.get(layer.name, 0)
        mean = self._means.get(layer.name)
        if mean is None:
            mean = inputs.new_zeros(inputs.shape[1])
        mean *= count / (count + 1)
        mean += torch.norm(inputs.t(), p=2, dim=1) ** 2 / (count + 1)
        self._means[layer.name] = mean
        self._counts[layer.name] = count + 1

    def result(self) -> dict[str, Tensor]:
        """Return layer name → X, [1, in] float32, over the sequences so far.

        Raises:
            UserError: a layer never ran.
        """
        for layer in self.layers:
            if layer.name not in self._means:
                raise UserError(f"not supported: {layer.name} takes no part in the forward pass")
        return {layer.name: self._means[layer.name].unsqueeze(0) for layer in self.layers}


class GradientNorms(_Hooks):
    """G of each layer, summed as gradients arrive: each is folded in and freed at once.

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

    def result(self) -> dict[str, Tensor]:
        """Return layer name → G, [out, in] float32."""
        root = self._norm == "l2"
        return {name: total.sqrt() if root else total for name, total in self._sums.items()}
