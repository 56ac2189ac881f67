"""Peak memory of a run, predicted from shapes alone, before any weight is on the device.

The parts are counted as PyTorch allocates them, phase by phase; the peak is the dearest phase.
Activations follow a LLaMA block, which keeps its widest intermediate four times and the residual
stream twice, or the attention's tensors, whichever is more. The numbers are upper bounds that the
tests hold against counted bytes; what CUDA itself and its allocator's rounding add is in `MARGIN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from pruner_zero.model.gradient_accumulators import GRADIENT_TERMINALS
from pruner_zero.model.layers import find_blocks, prunable_layers

MARGIN = 1.1
HOST_INPUT_BYTES = 4 << 30
"""Inputs of blocks that a backward pass with hosted blocks keeps on the host at once."""
_SCORE_BYTES = 32  # per weight of the layer that is scored: values in float32, selection, mask
_UPDATE_BYTES = 32  # likewise, of a sweep: weights, errors, shares, masks, values that stay
_HISTOGRAM_BYTES = 4 * 8 * (1 << 16)  # of the selection over a block or the model


@dataclass(frozen=True)
class Workload:
    """What will run.

    Attributes:
        window: tokens per window.
        windows: windows of the largest text that is measured at once.
        batch: windows per forward pass of a resident model.
        length: tokens per calibration sequence, 0 when nothing is measured.
        sequences: calibration sequences.
        terminals: what is measured on them.
        copy: a resident model keeps a copy of its dense weights beside it.
        host_copy: so does one with hosted blocks, on the host.
        checkpointing: the backward pass recomputes blocks instead of keeping their activations.
        score_memory: bytes in which scores that compete over a block or the model may be kept.
        update: a resident model keeps the factor of each layer's Hessian for the OBS update.
        together: most weights of a resident model that are scored at once.
    """

    window: int = 2048
    windows: int = 16
    batch: int = 1
    length: int = 0
    sequences: int = 0
    terminals: frozenset[str] = frozenset()
    copy: bool = True
    host_copy: bool = False
    checkpointing: bool = False
    score_memory: int = 0
    update: bool = False
    together: int = 0


@dataclass(frozen=True)
class Shapes:
    """The sizes of a model that its memory depends on, in bytes or numbers.

    Attributes:
        weights: bytes of all parameters.
        frame: bytes of those outside the decoder blocks.
        block: bytes of the largest block.
        blocks: number of blocks.
        prunable: prunable weights of all blocks.
        prunable_block: of the largest block.
        layer: of the largest layer.
        hessians: numbers in the Hessians of all layers' inputs.
        width: of the hidden states.
        inner: the widest intermediate of a block.
        heads: attention heads whose [L, L] scores are held at once; 0 with fused attention.
        vocabulary: logits per token.
        item: bytes per weight.
    """

    weights: int
    frame: int
    block: int
    blocks: int
    prunable: int
    prunable_block: int
    layer: int
    hessians: int
    width: int
    inner: int
    heads: int
    vocabulary: int
    item: int

    @classmethod
    def of(cls, model: nn.Module) -> Shapes:
        """Read them off a model; one on the meta device will do."""
        causal: Any = model
        config = causal.config.get_text_config()
        blocks = find_blocks(model)
        layers = prunable_layers(model)
        sizes = [sum(p.numel() for layer in layers if layer.block == index
                     for p in (layer.weight,)) for index in range(len(blocks))]  # fmt: skip
        weights = _bytes(model)
        return cls(
            weights=weights,
            frame=weights - _bytes(blocks),
            block=max(map(_bytes, blocks)),
            blocks=len(blocks),
            prunable=sum(sizes),
            prunable_block=max(sizes),
            layer=max(layer.weight.numel() for layer in layers),
            hessians=sum(layer.shape[1] ** 2 for layer in layers),
            width=config.hidden_size,
            inner=max(max(layer.shape) for layer in layers),
            heads=config.num_attention_heads if config._attn_implementation == "eager" else 0,
            vocabulary=config.vocab_size,
            item=layers[0].weight.element_size(),
        )

    def activations(self, tokens: int, length: int) -> int:
        """Bytes of a forward pass through the blocks, the hidden states included.

        Args:
            tokens: in one forward pass.
            length: of each sequence.
        """
        numbers = max(2 * self.width + 4 * self.inner, 10 * self.width)
        scores = self.heads * length * (self.item + 4)
        return tokens * (numbers * self.item + scores)

    def saved(self, tokens: int) -> int:
        """Bytes that one block keeps for its backward pass."""
        scores = self.heads * tokens * (self.item + 4)
        numbers = 6 * self.width + 4 * self.inner
        return tokens * (numbers * self.item + 16 * self.width + scores)


@dataclass(frozen=True)
class Need:
    """Predicted peak memory.

    Attributes:
        memory: ``resident`` or ``blockwise``.
        parts: what there is at the peak on the device → bytes.
        host: bytes on the host beside it, for hosted blocks.
    """

    memory: str
    parts: Mapping[str, int] = field(default_factory=dict)
    host: int = 0

    @property
    def device(self) -> int:
        """Bytes on the device at the peak."""
        return sum(self.parts.values())

    @property
    def fixed(self) -> int:
        """Bytes of the weights that are on the device all the time."""
        return self.parts.get("weights", 0) + self.parts.get("frame", 0)


def predict(shapes: Shapes, work: Workload, memory: str, chunk: int) -> Need:
    """Predict the peak of a run.

    Args:
        shapes: of the model.
        work: what will run.
        memory: ``resident`` or ``blockwise``.
        chunk: tokens whose logits exist at once.
    """
    phases = [_evaluation(shapes, work, memory, chunk), _scoring(shapes, work, memory)]
    if work.length:
        phases.append(_calibration(shapes, work, memory, chunk))
    if work.update:
        phases.append(_inversion(shapes, work, memory))
    host = 0
    if memory == "blockwise":
        host = shapes.weights - shapes.frame + shapes.prunable // 8
        host += _statistics(shapes, work, shapes.prunable)
        host += shapes.prunable * shapes.item if work.host_copy else 0
        if work.length and work.terminals & GRADIENT_TERMINALS:
            group = min(work.sequences, group_size(shapes, work.length))
            host += group * _inputs(shapes, work)
    return Need(memory, max(phases, key=lambda parts: sum(parts.values())), host)


def group_size(shapes: Shapes, length: int) -> int:
    """Calibration sequences of a length whose block inputs are kept on the host at once."""
    return max(1, HOST_INPUT_BYTES // _inputs(shapes, replace(Workload(), length=length)))


def _weights(shapes: Shapes, work: Workload, memory: str, copy: bool) -> dict[str, int]:
    if memory == "blockwise":
        return {"frame": shapes.frame, "one block": shapes.block}
    parts = {"weights": shapes.weights}
    if copy and work.copy:
        parts["dense copy"] = shapes.prunable * shapes.item
    return parts


def _evaluation(shapes: Shapes, work: Workload, memory: str, chunk: int) -> dict[str, int]:
    parts = _weights(shapes, work, memory, True)
    batch = 1 if memory == "blockwise" else work.batch
    tokens = batch * work.window
    hidden = tokens * shapes.width * shapes.item
    if memory == "blockwise":
        parts["hidden states"] = work.windows * hidden
    else:
        parts["statistics"] = _statistics(shapes, work, shapes.prunable)
    parts |= _kept_scores(shapes, work)
    parts |= _factors(shapes, work, memory)
    # The head works when the blocks have run.
    activations = shapes.activations(tokens, work.window)
    logits = 4 * hidden + 8 * shapes.vocabulary * min(chunk, tokens)
    parts["activations" if activations >= logits else "logits"] = max(activations, logits)
    return parts


def _scoring(shapes: Shapes, work: Workload, memory: str) -> dict[str, int]:
    parts = _weights(shapes, work, memory, True)
    if memory == "blockwise":
        parts.pop("one block")
        parts["one layer"] = shapes.layer * (shapes.item + (4 if work.terminals else 0))
    else:
        parts["statistics"] = _statistics(shapes, work, shapes.prunable)
    parts |= _kept_scores(shapes, work)
    parts |= _factors(shapes, work, memory)
    together = 0 if memory == "blockwise" else min(work.together, shapes.prunable)
    parts["scores"] = _SCORE_BYTES * max(shapes.layer, together) + _HISTOGRAM_BYTES
    if work.update:
        parts["update"] = _UPDATE_BYTES * shapes.layer
    return parts


def _inversion(shapes: Shapes, work: Workload, memory: str) -> dict[str, int]:
    """Hessians of the last block are made and inverted beside the factors of those before."""
    parts = _weights(shapes, work, memory, False)
    parts["statistics"] = _statistics(shapes, work, shapes.prunable)
    parts |= _factors(shapes, work, memory)
    parts["hidden states"] = work.sequences * work.length * shapes.width * shapes.item
    activations = shapes.activations(work.length, work.length) + 4 * work.length * shapes.inner
    inverting = 16 * shapes.inner**2
    parts["Hessians"] = 4 * shapes.hessians // shapes.blocks + max(activations, inverting)
    return parts


def _factors(shapes: Shapes, work: Workload, memory: str) -> dict[str, int]:
    if not work.update or memory == "blockwise":
        return {}
    return {"factors of Hessians": 4 * shapes.hessians}


def _kept_scores(shapes: Shapes, work: Workload) -> dict[str, int]:
    """Scores that compete are kept in float32 for the next metric too, if all of them fit."""
    sizes = (4 * shapes.prunable, 4 * shapes.prunable_block)
    kept = next((size for size in sizes if size <= work.score_memory), 0)
    return {"kept scores": kept} if kept else {}


def _calibration(shapes: Shapes, work: Workload, memory: str, chunk: int) -> dict[str, int]:
    parts = _weights(shapes, work, memory, False)
    tokens = work.length
    blockwise = memory == "blockwise"
    backward = bool(work.terminals & GRADIENT_TERMINALS)
    hessians = 4 * shapes.hessians if "H" in work.terminals else 0
    if blockwise:
        parts["statistics"] = _statistics(shapes, work, shapes.prunable_block)
        parts["statistics"] += hessians // shapes.blocks
        count = group_size(shapes, tokens) if backward else work.sequences
        states = min(count, work.sequences) * tokens * shapes.width * shapes.item
        parts["hidden states"] = 2 * states if backward else states
    else:
        parts["statistics"] = _statistics(shapes, work, shapes.prunable) + hessians
    forward = shapes.activations(tokens, tokens) + 4 * tokens * shapes.inner
    kept = forward
    logits = (12 if backward else 8) * shapes.vocabulary * min(chunk, tokens)
    if backward:
        parts["gradients"] = shapes.layer * (shapes.item + 4)
        whole_graph = not blockwise and not work.checkpointing
        kept = max(shapes.saved(tokens) * (shapes.blocks if whole_graph else 1), forward)
        if work.checkpointing and not blockwise:
            parts["inputs of blocks"] = _inputs(shapes, work)
        if whole_graph:
            return {**parts, "activations": kept, "logits": logits}
    # The head works when the blocks have run.
    return {**parts, "activations" if kept >= logits else "logits": max(kept, logits)}


def _statistics(shapes: Shapes, work: Workload, prunable: int) -> int:
    """Bytes of G; what is kept per row or column is nothing beside it."""
    return 4 * prunable if "G" in work.terminals else 0


def _inputs(shapes: Shapes, work: Workload) -> int:
    """Bytes of the inputs of all blocks for one calibration sequence."""
    return shapes.blocks * work.length * shapes.width * shapes.item


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device, or available on the host for the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available
