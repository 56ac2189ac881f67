"""What one candidate needs of the device at least, to compare with what it can do at best."""

from __future__ import annotations

from typing import Any, cast

import torch

from pruner_zero.bench.candidate import Subject
from pruner_zero.metric import Metric


def forward_operations(subject: Subject) -> float:
    """Floating-point operations of the matrix products in one forward pass of all windows.

    Products with weights (blocks and output layer) and the causal half of attention's two.
    """
    windows, length = subject.ids.shape
    weights = sum(layer.weight.numel() for layer in subject.layers)
    outputs = subject.head.vocabulary * _width(subject)
    attention = _width(subject) * length * subject.layers[0].blocks
    # The last token of a window predicts nothing, so its logits are never made.
    return 2.0 * windows * (length * (weights + attention) + (length - 1) * outputs)


def selection_bytes(subject: Subject, metric: Metric) -> float:
    """Bytes that scoring, masking and applying must move at least.

    Each terminal is read once, the mask written and read, the weight read and written.
    """
    total = 0
    for layer in subject.layers:
        weight = layer.weight
        read = sum(
            values[layer.name].numel() * 4
            for name, values in subject.statistics.values.items()
            if name in metric.terminals
        )
        total += read + weight.numel() * (3 * weight.element_size() + 2)
    return float(total)


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: on CUDA by tensors, on the CPU by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _width(subject: Subject) -> int:
    return cast(Any, subject.head.model).get_input_embeddings().weight.shape[1]
