"""A model as plain arrays: sent once to each machine, read there by every process.

Ray keeps NumPy arrays in memory that the processes of a machine share, and gives them out as views;
PyTorch tensors it would copy for each. So a model travels as a skeleton, whose tensors have no
memory, and the bytes of its tensors.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pruner_zero.model.statistics import Statistics


@dataclass(frozen=True)
class PortableTensor:
    """The bytes of a tensor, with what they mean."""

    data: np.ndarray
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> PortableTensor:
        """View a tensor's bytes; one that is not on the CPU is copied there."""
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return cls(flat.view(torch.uint8).numpy(), tensor.dtype, tuple(tensor.shape))

    def view(self) -> Tensor:
        """The tensor on the same bytes; read it only, others read it too."""
        if not self.data.size:
            return torch.empty(self.shape, dtype=self.dtype)
        with warnings.catch_warnings():
            # PyTorch has no read-only tensors and warns of arrays that are.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(self.data).view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class PortableModel:
    """A model without its tensors, and the tensors by name."""

    skeleton: nn.Module
    tensors: Mapping[str, PortableTensor]

    @classmethod
    def of(cls, model: nn.Module) -> PortableModel:
        """Take a model apart; it stays as it is."""
        named = dict(_tensors(model))
        bare = {name: _like(tensor, tensor.to("meta")) for name, tensor in named.items()}
        skeleton = _with(model, {name: (named[name], bare[name]) for name in named})
        return cls(skeleton, {name: PortableTensor.of(t) for name, t in named.items()})

    def build(self, device: torch.device | str) -> nn.Module:
        """Make the model, with tensors of its own, on a device."""
        bare = dict(_tensors(self.skeleton))
        pairs = {}
        for name, tensor in bare.items():
            view = self.tensors[name].view()
            own = view.clone() if torch.device(device).type == "cpu" else view.to(device)
            pairs[name] = (tensor, _like(tensor, own))
        return _with(self.skeleton, pairs)

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, as views; read them only."""
        return {name: tensor.view() for name, tensor in self.tensors.items()}


@dataclass(frozen=True)
class PortableStatistics:
    """Statistics with their tensors as bytes."""

    bare: Statistics
    values: Mapping[str, Mapping[str, PortableTensor]]

    @classmethod
    def of(cls, statistics: Statistics) -> PortableStatistics:
        """Take statistics apart."""
        values = {
            terminal: {name: PortableTensor.of(value) for name, value in layers.items()}
            for terminal, layers in statistics.values.items()
        }
        return cls(replace(statistics, values={}), values)

    def view(self) -> Statistics:
        """The statistics on the same bytes."""
        values = {
            terminal: {name: value.view() for name, value in layers.items()}
            for terminal, layers in self.values.items()
        }
        return self.bare.with_values(values)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer once, however often it is used (tied embeddings)."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(other, requires_grad=tensor.requires_grad)
    return other


def _with(model: nn.Module, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> nn.Module:
    """A copy of a model in which every first tensor of a pair has become the second."""
    return copy.deepcopy(model, {id(old): new for old, new in pairs.values()})
