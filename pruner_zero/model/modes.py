"""Borrow a model for a measurement and give it back as it was, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pruner_zero.model.layers import PrunableLayer


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) inside a ``with`` block; each module's own mode afterwards.

    Args:
        model: the model.

    Yields:
        Nothing.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def measuring(
    model: nn.Module, trainable: Sequence[PrunableLayer], backward: bool
) -> Iterator[None]:
    """Evaluation mode, with gradients for the given layers' weights only; all of it undone after.

    Args:
        model: the model.
        trainable: layers whose weights get gradients.
        backward: there will be backward passes, which should be repeatable.

    Yields:
        Nothing.
    """
    wanted = {id(layer.weight) for layer in trainable}
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    with evaluation_mode(model), _deterministic() if backward else nullcontext():
        try:
            for parameter, _, _ in flags:
                parameter.requires_grad_(id(parameter) in wanted)
                parameter.grad = None
            yield
        finally:
            for parameter, flag, grad in flags:
                parameter.requires_grad_(flag)
                parameter.grad = grad


@contextmanager
def _deterministic() -> Iterator[None]:
    """Make fused attention's backward pass repeatable on CUDA; nothing changes on the CPU.

    Of the fused kernels flash attention alone does what is asked here: cuDNN's and the
    memory-efficient one only warn.
    """
    if not torch.cuda.is_available():
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
