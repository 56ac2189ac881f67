"""Statistics and tokens of the right shapes; speed does not depend on their values."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from pruner_zero.metric import TERMINALS
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.statistics import MEASURED_TERMINALS, Statistics


def random_statistics(
    layers: Sequence[PrunableLayer], terminals: Collection[str], seed: int = 0
) -> Statistics:
    """Positive random values in place of measured ones, on the weights' devices.

    Args:
        layers: the model's prunable layers.
        terminals: what metrics will read; W and D need nothing.
        seed: of the values.
    """
    values: dict[str, dict[str, Tensor]] = {}
    for name in sorted(MEASURED_TERMINALS & set(terminals)):
        values[name] = {}
        for number, layer in enumerate(layers):
            generator = torch.Generator(layer.weight.device).manual_seed(seed + number)
            shape = TERMINALS[name].shape(*layer.shape)
            noise = torch.rand(shape, generator=generator, device=layer.weight.device)
            values[name][layer.name] = noise.square_().add_(1e-6)
    return Statistics(values)


def random_ids(windows: int, length: int, vocabulary: int, seed: int = 0) -> Tensor:
    """Random tokens, [windows, length] int64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (windows, length), generator=generator)
