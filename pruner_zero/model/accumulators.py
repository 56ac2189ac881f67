"""Running statistics of layers' inputs: the terminals X, M, V and H, and SparseGPT's Hessians."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from pruner_zero.model.hooks import LayerInputs, never_ran
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.sparsegpt import Hessian, saliency_scale

INPUT_TERMINALS = frozenset("XMVH")
"""Terminals that come from layers' inputs: a forward pass gives them, whatever weights it meets."""

ByTerminal = dict[str, dict[str, Tensor]]


class InputStatistics:
    """The wanted terminals of layers' inputs, accumulated inside a ``with`` block.

    Args:
        layers: the layers to listen to.
        terminals: which of ``INPUT_TERMINALS``; others are not looked at.
        hessians: keep Hessians even when H is not wanted.
    """

    def __init__(
        self,
        layers: Sequence[PrunableLayer],
        terminals: Collection[str],
        hessians: bool = False,
    ) -> None:
        self._terminals = INPUT_TERMINALS & set(terminals)
        self._norms = ActivationNorms(layers if "X" in terminals else ())
        self._moments = InputMoments(layers if {"M", "V"} & self._terminals else ())
        self.hessians = Hessians(layers if hessians or "H" in terminals else ())
        self._open = ExitStack()

    def __enter__(self) -> InputStatistics:
        for hooks in (self._norms, self._moments, self.hessians):
            self._open.enter_context(hooks)
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def result(self) -> ByTerminal:
        """Return terminal → layer name → [1, in] float32, over the sequences so far.

        Raises:
            UserError: a layer never ran, or a Hessian cannot be inverted.
        """
        found: ByTerminal = {"X": self._norms.result(), **self._moments.result()}
        if "H" in self._terminals:
            found["H"] = self.hessians.saliency_scales()
        return {name: values for name, values in found.items() if name in self._terminals}


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
                raise never_ran(layer)
        return {layer.name: self._means[layer.name].unsqueeze(0) for layer in self.layers}


class InputMoments(LayerInputs):
    """M and V of each layer, over all tokens of all sequences together.

    M is the absolute value of each feature's mean, ``|(1/T) Σ_t x[t,j]|``; V its variance,
    ``(1/T) Σ_t (x[t,j] − mean_j)²``, with T tokens.
    """

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        super().__init__(layers, self._add)
        self._moments: dict[str, tuple[int, Tensor, Tensor]] = {}

    def _add(self, layer: PrunableLayer, inputs: Tensor) -> None:
        variance, mean = torch.var_mean(inputs, dim=0, correction=0)
        tokens = len(inputs)
        if layer.name in self._moments:
            # Chan's update of a mean and a variance; E[x²] − E[x]² would cancel.
            before, old_mean, old_variance = self._moments[layer.name]
            share = tokens / (before + tokens)
            shift = mean - old_mean
            variance = old_variance.lerp(variance, share) + shift**2 * (share * (1 - share))
            mean = old_mean + shift * share
            tokens += before
        self._moments[layer.name] = tokens, mean, variance

    def result(self) -> ByTerminal:
        """Return M and V: terminal → layer name → [1, in] float32.

        Raises:
            UserError: a layer never ran.
        """
        for layer in self.layers:
            if layer.name not in self._moments:
                raise never_ran(layer)
        return {
            "M": {name: mean.abs().unsqueeze(0) for name, (_, mean, _) in self._moments.items()},
            "V": {name: variance.unsqueeze(0) for name, (_, _, variance) in self._moments.items()},
        }


class Hessians(LayerInputs):
    """The Hessian of every layer's inputs, [in, in] float32.

    Layers that are called with the same tensor share one matrix: per block of a LLaMA three of the
    model's width (query, key and value; output; gate and up) and one of the MLP's. All blocks at
    once, as H of a dense model needs, are 0.4 GB for SmolLM2-135M and 22 GB for LLaMA-2-7B.
    """

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        super().__init__(layers, self._add)
        self._of: dict[str, Hessian] = {}
        self._latest: tuple[Tensor, Hessian] | None = None

    def _add(self, layer: PrunableLayer, inputs: Tensor) -> None:
        if self._latest is not None and self._latest[0] is inputs:
            self._of[layer.name] = self._latest[1]
            return
        if layer.name not in self._of:
            self._of[layer.name] = Hessian(layer.shape[1], layer.weight.device)
        hessian = self._of[layer.name]
        hessian.add(inputs)
        self._latest = inputs, hessian

    def close(self) -> None:
        """Remove the hooks and forget the latest input."""
        super().close()
        self._latest = None

    def to(self, device: torch.device | str) -> None:
        """Keep the matrices on another device; inputs must come from there."""
        for hessian in set(self._of.values()):
            hessian.to(device)

    def matrix(self, layer: PrunableLayer) -> Tensor:
        """H of one layer, [in, in] float32.

        Raises:
            UserError: the layer never ran.
        """
        if layer.name not in self._of:
            raise never_ran(layer)
        return self._of[layer.name].matrix()

    def saliency_scales(self) -> dict[str, Tensor]:
        """The terminal H: layer name → [1, in] float32, as `saliency_scale` defines it.

        Raises:
            UserError: a layer never ran, or its Hessian cannot be inverted.
        """
        inverted: dict[int, Tensor] = {}
        scales = {}
        for layer in self.layers:
            matrix = self.matrix(layer)
            if id(matrix) not in inverted:
                inverted[id(matrix)] = saliency_scale(matrix, layer.name)
            # A tensor of its own: files refuse tensors that share memory.
            scales[layer.name] = inverted[id(matrix)].clone()
        return scales
