"""The loss of one calibration sequence, and its gradient, without all logits at once."""

from __future__ import annotations

import torch
from torch import Tensor

from pruner_zero.model.head import CausalHead


def sequence_loss(head: CausalHead, ids: Tensor, backward: bool) -> float:
    """Forward (and backward) of one sequence.

    Args:
        head: the model.
        ids: [1, L] int64, on its device.
        backward: accumulate gradients in whatever requires them.

    Returns:
        The mean loss over the L - 1 predicted tokens, in nats.
    """
    with torch.set_grad_enabled(backward):
        hidden = head.hidden(ids)[0, :-1]
        targets = ids[0, 1:]
        # The head's backward runs chunk by chunk into this leaf, so that the logits of one chunk
        # are all that exists; then one backward pass goes through the decoder.
        leaf = hidden.detach().requires_grad_(backward)
        total = 0.0
        for piece, wanted in zip(
            leaf.split(head.chunk_tokens()), targets.split(head.chunk_tokens()), strict=True
        ):
            loss = head.token_losses(piece, wanted).sum() / len(targets)
            total += float(loss.detach())
            if backward:
                loss.backward()
        if backward:
            hidden.backward(leaf.grad)
    return total
