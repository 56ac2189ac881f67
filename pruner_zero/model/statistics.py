"""What a metric may read beside the weights: statistics of a dense model on calibration text."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from pruner_zero.errors import OutOfDeviceMemory, UserError, suggest
from pruner_zero.metric import TERMINALS
from pruner_zero.model.accumulators import INPUT_TERMINALS, InputStatistics
from pruner_zero.model.block_statistics import BlockStatistics
from pruner_zero.model.gradient_accumulators import (
    GRADIENT_TERMINALS,
    GradientNorms,
    OutputGradients,
)
from pruner_zero.model.head import CausalHead, check_length
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.layers import PrunableLayer, prunable_layers
from pruner_zero.model.memory import MARGIN, Shapes, free_memory
from pruner_zero.model.modes import cannot_repeat, measuring
from pruner_zero.model.sequence_loss import sequence_loss

Norm = Literal["l1", "l2"]
Progress = Callable[[int, int], None]
Values = Mapping[str, Mapping[str, Tensor]]

MEASURED_TERMINALS = GRADIENT_TERMINALS | INPUT_TERMINALS
"""Terminals that have to be measured; W and D are known of every layer."""


@dataclass(frozen=True)
class Statistics:
    """Calibration statistics of a dense model.

    Attributes:
        values: terminal → layer name → float32 tensor, of the shape and with the meaning that
            ``TERMINALS`` gives; as far as they were measured. G is ``sqrt(Σ_s (scale·g_s)²)`` over
            the sequences' own gradients (``Σ_s |scale·g_s|`` for the l1 norm).
        sequences: number of calibration sequences.
        losses: [sequences] float64, mean loss of the dense model on each, in nats per token.
        provenance: how it was measured, as text.
    """

    values: Values
    sequences: int = 0
    losses: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def G(self) -> Mapping[str, Tensor]:
        """Layer name → gradient magnitude, [out, in]; empty when not measured."""
        return self.values.get("G", {})

    @property
    def X(self) -> Mapping[str, Tensor]:
        """Layer name → mean squared norm of each input, [1, in]; empty when not measured."""
        return self.values.get("X", {})

    def terminals(self) -> frozenset[str]:
        """The terminals that a metric can read: ``W`` and ``D`` always, the others if measured."""
        measured = {name for name, layers in self.values.items() if layers}
        return frozenset(TERMINALS.keys() - MEASURED_TERMINALS | measured)

    @property
    def dense_perplexity(self) -> float:
        """Perplexity of the dense model on the calibration sequences."""
        return float(self.losses.mean().exp())

    def with_values(self, values: Values) -> Statistics:
        """Return the same statistics with some terminals added or replaced."""
        return replace(self, values={**self.values, **values})

    def to(self, device: torch.device | str) -> Statistics:
        """Return the same statistics on another device."""
        moved = {
            terminal: {name: value.to(device) for name, value in layers.items()}
            for terminal, layers in self.values.items()
        }
        return replace(self, values=moved)

    def excerpt(self, shapes: Mapping[str, tuple[int, int]]) -> Statistics:
        """Return the statistics of some layers, of their first output rows alone.

        Args:
            shapes: layer name → (rows, in) of the excerpt.
        """
        cut = {
            terminal: {
                # A value per output row is cut like the weight; one per input is not.
                name: layers[name][:rows] if layers[name].shape[0] > 1 else layers[name]
                for name, (rows, _) in shapes.items()
            }
            for terminal, layers in self.values.items()
            if layers
        }
        return replace(self, values=cut)


def measure_statistics(
    model: nn.Module,
    ids: Tensor,
    terminals: Iterable[str] = ("G", "X"),
    norm: Norm = "l2",
    scale: float = 100.0,
    progress: Progress | None = None,
    checkpointing: bool | None = None,
) -> Statistics:
    """Measure what a metric reads in one pass over the calibration sequences.

    Each sequence runs alone: forward, and backward when G or R is wanted. A weight's gradient is
    folded into its accumulator the moment it is complete and freed, so that gradients of at most
    a few layers exist at once. H keeps one [in, in] matrix per distinct layer input until the end
    (see `Hessians` for its memory) and then inverts it. The model runs without dropout and is
    left as it was.

    Semantics follow the public code of Pruner-Zero (arXiv:2406.02924), Wanda (arXiv:2306.11695)
    and SparseGPT (arXiv:2301.00774).

    Args:
        model: the dense model.
        ids: [N, L] int64 calibration sequences.
        terminals: what to measure, such as ``metric.terminals``; W and D need no measurement.
        norm: how gradients of several sequences are combined in G.
        scale: factor on every gradient before it is combined, in G and R.
        progress: called with (sequences done, N).
        checkpointing: recompute activations in the backward pass instead of keeping them, block
            by block, for the same numbers; None does so where they do not fit, and a model with
            hosted blocks knows no other way.

    Returns:
        The statistics, on the weights' devices.

    Raises:
        UserError: sequences too long for the model, unsupported layers, an unknown terminal or
            norm, a Hessian that cannot be inverted, or not enough memory.
    """
    if norm not in ("l1", "l2"):
        raise UserError(f"unknown gradient norm '{norm}': choose from: l1, l2")
    wanted = frozenset(terminals)
    for name in sorted(wanted - TERMINALS.keys()):
        raise UserError(f"no terminal is called '{name}': {suggest(name, TERMINALS)}")
    layers = prunable_layers(model)
    head = CausalHead.of(model)
    check_ids(head, ids)
    if checkpointing is None:
        attempts = dict.fromkeys((_too_large(head, ids, wanted), True))
    else:
        attempts = {checkpointing: None}
    measure = partial(_measure, head, layers, ids, wanted, norm, scale, progress)
    for attempt in attempts:
        try:
            found, losses = _repeatably(measure, attempt)
        except torch.OutOfMemoryError:
            continue  # outside this clause nothing holds the failed pass's tensors
        return Statistics(
            {name: found[name] for name in TERMINALS if found.get(name)},
            len(ids),
            losses,
            {"norm": norm, "scale": repr(scale), "length": str(ids.shape[1])},
        )
    raise OutOfDeviceMemory(
        f"out of memory with a calibration sequence of {ids.shape[1]} tokens: set memory=blockwise,"
        " a smaller calibration.length or dtype, or measure fewer terminals (H needs most)"
    )


def _repeatably(
    measure: Callable[[bool, bool], tuple[Values, Tensor]], checkpointing: bool
) -> tuple[Values, Tensor]:
    """Measure so that the same bits come every time or, where the model cannot, say so."""
    try:
        return measure(checkpointing, True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if not cannot_repeat(error):
            raise
        first = str(error).splitlines()[0].partition(",")[0]
        text = f"gradients of this model differ by rounding from run to run on CUDA: {first}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return measure(checkpointing, False)


def _measure(
    head: CausalHead,
    layers: Sequence[PrunableLayer],
    ids: Tensor,
    wanted: frozenset[str],
    norm: str,
    scale: float,
    progress: Progress | None,
    checkpointing: bool,
    repeatable: bool,
) -> tuple[Values, Tensor]:
    """Terminal → layer → values, and the loss of each sequence."""
    trained = layers if "G" in wanted else ()
    backward = bool(wanted & GRADIENT_TERMINALS)
    if hosted_blocks(head.model) or (checkpointing and backward):
        if head.decoder is None:
            name = type(head.model).__name__
            raise UserError(f"{name} cannot be measured block by block: set memory=resident and "
                            "calibration.checkpointing=false")  # fmt: skip
        blocks = BlockStatistics(head, layers, wanted, backward, norm, scale)
        with measuring(head.model, trained, backward, repeatable):
            losses = blocks.measure(ids, progress)
        return blocks.result(), losses
    inputs = InputStatistics(layers, wanted)
    weights = GradientNorms(trained, norm, scale)
    outputs = OutputGradients(layers if "R" in wanted else (), scale)
    losses = torch.zeros(len(ids), dtype=torch.float64)
    with measuring(head.model, trained, backward, repeatable), inputs, weights, outputs:
        for index, sequence in enumerate(ids):
            losses[index] = sequence_loss(head, sequence.unsqueeze(0).to(head.device), backward)
            if progress:
                progress(index + 1, len(ids))
    return {"G": weights.result(), "R": outputs.result(), **inputs.result()}, losses


def _too_large(head: CausalHead, ids: Tensor, wanted: frozenset[str]) -> bool:
    """Whether the activations of one sequence's backward pass do not fit beside the model."""
    if head.decoder is None or not wanted & GRADIENT_TERMINALS:
        return False
    shapes = Shapes.of(head.model)
    kept = shapes.blocks * shapes.saved(ids.shape[1])
    sums = 4 * shapes.prunable if "G" in wanted else 0
    return (kept + sums) * MARGIN > free_memory(head.device)


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
