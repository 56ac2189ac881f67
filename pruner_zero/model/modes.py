"""Borrow a model for a measurement and give it back as it was, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

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
    model: nn.Module,
    trainable: Sequence[PrunableLayer],
    backward: bool,
    repeatable: bool = True,
) -> Iterator[None]:
    """Evaluation mode, with gradients for the given layers' weights only; all of it undone after.

    Args:
        model: the model.
        trainable: layers whose weights get gradients.
        backward: there will be backward passes.
        repeatable: on CUDA these give the same bits every time. An operation that cannot do so
            raises a RuntimeError, see `cannot_repeat`.

    Yields:
        Nothing.
    """
    wanted = {id(layer.weight) for layer in trainable}
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    with evaluation_mode(model), _deterministic() if backward and repeatable else nullcontext():
        try:
            for parameter, _, _ in flags:
                parameter.requires_grad_(id(parameter) in wanted)
                parameter.grad = None
            yield
        finally:
            for parameter, flag, grad in flags:
                parameter.requires_grad_(flag)
                parameter.grad = grad


def prepare_cublas() -> None:
    """Have cuBLAS repeat its bits; to be called before it is first used, for it looks once.

    Older versions of torch refuse `measuring`'s mode without it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def cannot_repeat(error: RuntimeError) -> bool:
    """Whether an operation was refused for want of an implementation that repeats its bits."""
    return "deterministic" in str(error)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Make backward passes repeatable on CUDA; nothing changes on the CPU.

    Fused attention adds up in any order unless the mode is strict: where it may only warn, it
    warns and goes on. cuDNN's attention is not used in this mode.
    """
    if not torch.cuda.is_available():
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    prepare_cublas()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
