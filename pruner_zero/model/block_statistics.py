"""Statistics block by block: activation checkpointing, and the only way with hosted blocks.

The forward pass goes through the blocks without a graph; X, M, V and H are taken on the way and
each block's input is kept. Then the blocks run once more from the last to the first, now with a
graph, and the gradients of one block at a time flow back: G and R are folded in there. The numbers
are those of one pass through the whole model, bit for bit; the activations are those of one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pruner_zero.model.accumulators import ByTerminal, InputStatistics
from pruner_zero.model.chain import DecoderChain
from pruner_zero.model.flow import BlockFlow, FlownDecoder
from pruner_zero.model.gradient_accumulators import GradientNorms, OutputGradients
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.memory import Shapes, group_size
from pruner_zero.model.sequence_loss import sequence_loss

Progress = Callable[[int, int], None]


class BlockStatistics:
    """Accumulates the wanted terminals of all layers; weights' requires_grad is set by the caller.

    With hosted blocks sequences go in groups, each block visits twice per group, and what is
    accumulated waits on the host; otherwise each sequence goes alone.

    Args:
        head: of the model; it must be cut in two.
        layers: all prunable layers, block by block.
        wanted: terminals.
        backward: whether any of them needs gradients.
        norm: see `GradientNorms`.
        scale: see `GradientNorms`.
    """

    def __init__(
        self,
        head: CausalHead,
        layers: Sequence[PrunableLayer],
        wanted: frozenset[str],
        backward: bool,
        norm: str,
        scale: float,
    ) -> None:
        self._head = head
        self._backward = backward
        self._hosted = hosted_blocks(head.model) is not None
        self._chain = DecoderChain.of(head.model)
        count = max(layer.block for layer in layers) + 1
        members = [[layer for layer in layers if layer.block == index] for index in range(count)]
        self._inputs = [InputStatistics(block, wanted) for block in members]
        self._weights = [GradientNorms(block if "G" in wanted else (), norm, scale)
                         for block in members]  # fmt: skip
        self._outputs = [OutputGradients(block if "R" in wanted else (), scale)
                         for block in members]  # fmt: skip
        self._found: ByTerminal = {}

    def measure(self, ids: Tensor, progress: Progress | None) -> Tensor:
        """Run all sequences.

        Args:
            ids: [N, L] int64.
            progress: called with (sequences done, N).

        Returns:
            Mean loss of each sequence, [N] float64.
        """
        losses: list[float] = []
        if not self._hosted:
            size = 1
        elif self._backward:
            size = group_size(Shapes.of(self._head.model), ids.shape[1])
        else:
            size = len(ids)
        for group in ids.split(size):
            losses += self._group(group, last=len(losses) + len(group) == len(ids))
            if progress:
                progress(len(losses), len(ids))
        return torch.tensor(losses, dtype=torch.float64)

    def result(self) -> ByTerminal:
        """Terminal → layer name → values, as `measure_statistics` wants them."""
        found = dict(self._found)
        for accumulators, name in ((self._weights, "G"), (self._outputs, "R")):
            found[name] = {k: v for block in accumulators for k, v in block.result().items()}
        if not self._hosted:
            return found
        return {name: {k: v.cpu() for k, v in values.items()} for name, values in found.items()}

    def _group(self, ids: Tensor, last: bool) -> list[float]:
        flow = BlockFlow(self._head.model, ids, self._chain)
        kept: list[list[Tensor]] = []
        for index in range(len(flow.blocks)):
            if self._backward:
                kept.append([self._away(hidden) for hidden in flow.hidden])
            self._forward(flow, index, last)
        losses = [self._loss(flow, number) for number in range(len(ids))]
        if self._backward:
            for index in reversed(range(len(flow.blocks))):
                self._back(flow, index, kept.pop())
        return losses

    def _forward(self, flow: BlockFlow, index: int, last: bool) -> None:
        inputs = self._inputs[index]
        with flow.chain.visit(index):
            inputs.hessians.to(flow.chain.device)
            with inputs:
                flow.run(index, keep=True)
            if last:
                for name, values in inputs.result().items():
                    self._found.setdefault(name, {}).update(values)
                self._inputs[index] = InputStatistics((), ())
            elif self._hosted:
                inputs.hessians.to("cpu")

    def _loss(self, flow: BlockFlow, number: int) -> float:
        """The loss of one sequence; its hidden states become the gradient behind the blocks."""
        row = flow.rows[number]
        leaf = flow.hidden[number].detach().requires_grad_(self._backward)
        decoder = FlownDecoder(flow.chain, [row], [leaf])
        loss = sequence_loss(replace(self._head, decoder=decoder), row, self._backward)
        if self._backward:
            assert leaf.grad is not None
            flow.hidden[number] = leaf.grad
        return loss

    def _back(self, flow: BlockFlow, index: int, inputs: list[Tensor]) -> None:
        """Take the gradient through one block, for all sequences of the group."""
        weights, outputs = self._weights[index], self._outputs[index]
        with flow.chain.visit(index), weights, outputs, torch.enable_grad():
            for number, kept in enumerate(inputs):
                # Nothing before the first block is trained.
                hidden = kept.to(flow.chain.device).detach().requires_grad_(index > 0)
                flow.chain.run(index, hidden).backward(flow.hidden[number])
                if hidden.grad is not None:
                    flow.hidden[number] = hidden.grad
        if self._hosted:
            weights.to("cpu")

    def _away(self, hidden: Tensor) -> Tensor:
        return hidden.cpu() if self._hosted else hidden
