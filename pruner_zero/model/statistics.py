"""What a metric may read beside the weights: gradients G and activations X of the dense model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.accumulators import ActivationNorms, GradientNorms
from pruner_zero.model.head import CausalHead, check_length
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.modes import measuring

Norm = Literal["l1", "l2"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Statistics:
    """Calibration statistics of a dense model.

    Attributes:
        G: layer name → [out, in] float32, ``sqrt(Σ_s (scale·g_s)²)`` over the sequences' own
            gradients (``Σ_s |scale·g_s|`` for the l1 norm); empty when not measured.
        X: layer name → [1, in] float32, mean over sequences of the squared L2 norm of each input
            feature; empty when not measured.
        sequences: number of calibration sequences.
        losses: [sequences] float64, mean loss of the dense model on each, in nats per token.
        provenance: how it was measured, as text.
    """

    G: Mapping[str, Tensor]
    X: Mapping[str, Tensor]
    sequences: int
    losses: Tensor
    provenance: Mapping[str, str] = field(default_factory=dict)

    def terminals(self) -> frozenset[str]:
        """The terminals that a metric can read: ``W`` always, ``G`` and ``X`` when measured."""
        measured = {"W"} | ({"G"} if self.G else set()) | ({"X"} if self.X else set())
        return frozenset(measured)

    @property
    def dense_perplexity(self) -> float:
        """Perplexity of the dense model on the calibration sequences."""
        return float(self.losses.mean().exp())

    def to(self, device: torch.device | str) -> Statistics:
        """Return the same statistics on another device."""
        return Statistics(
            {name: value.to(device) for name, value in self.G.items()},
            {name: value.to(device) for name, value in self.X.items()},
            self.sequences,
            self.losses,
            self.provenance,
        )

    def excerpt(self, shapes: Mapping[str, tuple[int, int]]) -> Statistics:
        """Return the statistics of some layers, of their first output rows alone.

        Args:
            shapes: layer name → (rows, in) of the excerpt.
        """
        return Statistics(
            {name: self.G[name][:rows] for name, (rows, _) in shapes.items() if self.G},
            {name: self.X[name] for name in shapes if self.X},
            self.sequences,
            self.losses,
            self.provenance,
        )


def measure_statistics(
    model: nn.Module,
    ids: Tensor,
    gradients: bool = True,
    activations: bool = True,
    norm: Norm = "l2",
    scale: float = 100.0,
    progress: Progress | None = None,
) -> Statistics:
    """Measure G and X in one pass over the calibration sequences.

    Each sequence runs alone: forward, and backward when gradients are wanted. A weight's gradient
    is folded into its accumulator the moment it is complete and freed, so that gradients of at most
    a few layers exist at once. The model runs without dropout and is left as it was.

    Semantics follow the public code of Pruner-Zero (arXiv:2406.02924) and Wanda (arXiv:2306.11695).

    Args:
        model: the dense model.
        ids: [N, L] int64 calibration sequences.
        gradients: measure G.
        activations: measure X.
        norm: how gradients of several sequences are combined.
        scale: factor on every gradient before it is combined.
        progress: called with (sequences done, N).

    Returns:
        The statistics, on the weights' devices.

    Raises:
        UserError: sequences too long for the model, unsupported layers, or an unknown norm.
    """
    if norm not in ("l1", "l2"):
        raise UserError(f"unknown gradient norm '{norm}': choose from: l1, l2")
    layers = prunable_layers(model)
    head = CausalHead.of(model)
    check_ids(head, ids)
    norms = ActivationNorms(layers if activations else ())
    grads = GradientNorms(layers if gradients else (), norm, scale)
    losses = torch.zeros(len(ids), dtype=torch.float64)
    with measuring(model, layers if gradients else ()), norms, grads:
        for index, sequence in enumerate(ids):
            losses[index] = _one_sequence(head, sequence.unsqueeze(0).to(head.device), gradients)
            if progress:
                progress(index + 1, len(ids))
    return Statistics(
        grads.result(),
        norms.result(),
        len(ids),
        losses,
        {"norm": norm, "scale": repr(scale), "length": str(ids.shape[1])},
    )


def check_ids(head: CausalHead, ids: Tensor) -> None:
    """Check calibration sequences against a model.

    Args:
        head: the model.
        ids: expected to be [N, L] integer token ids, N ≥ 1.

    Raises:
        UserError: wrong shape or type, too long for the model, or ids outside its vocabulary.
    """
    if ids.dim() != 2 or ids.is_floating_point() or not len(ids):
        raise UserError(f"ids must be integers of shape [N, L], got {ids.dtype} {list(ids.shape)}")
    check_length(head, ids.shape[1])
    low, high = (int(bound) for bound in torch.aminmax(ids))
    if low < 0 or high >= head.vocabulary:
        raise UserError(
            f"token id {low if low < 0 else high} is outside the model's vocabulary of "
            f"{head.vocabulary}: tokenizer and model do not belong together"
        )


def _one_sequence(head: CausalHead, ids: Tensor, gradients: bool) -> float:
    """Forward (and backward) of one sequence [1, L]; returns its mean loss."""
    with torch.set_grad_enabled(gradients):
        hidden = head.hidden(ids)[0, :-1]
        targets = ids[0, 1:]
        # The head's backward runs chunk by chunk into this leaf, so that the logits of one chunk
        # are all that exists; then one backward pass goes through the decoder.
        leaf = hidden.detach().requires_grad_(gradients)
        total = 0.0
        for piece, wanted in zip(
            leaf.split(head.chunk_tokens()), targets.split(head.chunk_tokens()), strict=True
        ):
            loss = head.token_losses(piece, wanted).sum() / len(targets)
            total += float(loss.detach())
            if gradients:
                loss.backward()
        if gradients:
            hidden.backward(leaf.grad)
    return total
