"""Sequences on their way through a decoder, all of them through one block before the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from pruner_zero.errors import OutOfDeviceMemory
from pruner_zero.model.chain import DecoderChain
from pruner_zero.model.head import CausalHead


class BlockFlow:
    """The sequences' hidden states, block after block.

    Args:
        model: a causal language model.
        ids: [N, L] int64, or a list of [L] of several lengths; each sequence runs alone.
        chain: the model's, if it is at hand with what it has learnt.

    Raises:
        UserError: the architecture cannot run block by block, see `DecoderChain.learn`.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: nn.Module,
        ids: Tensor | Sequence[Tensor],
        chain: DecoderChain | None = None,
    ) -> None:
        self.chain = chain or DecoderChain.of(model)
        self.blocks = self.chain.blocks
        self.rows = [row.unsqueeze(0).to(self.chain.device) for row in ids]
        for row in self.rows:
            self.chain.learn(row)
        self.hidden = [self.chain.first_input(row) for row in self.rows]

    @torch.no_grad()
    def run(self, block: int, keep: bool) -> None:
        """Run one block on all sequences.

        Args:
            block: index of the block.
            keep: replace the hidden states by the block's outputs, or only run it (for its hooks).
        """
        with self.chain.visit(block):
            for index, hidden in enumerate(self.hidden):
                output = self.chain.run(block, hidden)
                if keep:
                    self.hidden[index] = output


class FlownDecoder(nn.Module):
    """Stands in for a decoder whose blocks have run: looks the sequences' hidden states up.

    Args:
        chain: the decoder.
        rows: the sequences, [1, L] each.
        hidden: what the last block gave for them, [1, L, width] each.
    """

    def __init__(
        self, chain: DecoderChain, rows: Sequence[Tensor], hidden: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self._chain = chain
        self._hidden = {_key(row): states for row, states in zip(rows, hidden, strict=True)}

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Any:
        """Last hidden states of ids [batch, L], each row of which flowed through the blocks."""
        del use_cache
        states = [
            self._chain.finish(row, self._hidden[_key(row)]).last_hidden_state
            for row in input_ids.split(1)
        ]
        return SimpleNamespace(last_hidden_state=torch.cat(states) if states[1:] else states[0])


def flown_head(head: CausalHead, ids: Tensor | Sequence[Tensor]) -> CausalHead:
    """Run sequences through all blocks, each block visiting the device once.

    Args:
        head: of a model with hosted blocks.
        ids: the sequences, see `BlockFlow`.

    Returns:
        A head whose ``hidden`` knows these sequences, and only these.

    Raises:
        OutOfDeviceMemory: not even one block fits beside the hidden states.
    """
    try:
        flow = BlockFlow(head.model, ids)
        for block in range(len(flow.blocks)):
            flow.run(block, keep=True)
    except torch.OutOfMemoryError as error:
        raise OutOfDeviceMemory(
            f"out of memory with one block and {len(ids)} windows of {len(ids[0])} tokens: set "
            "fewer or shorter windows, or model.dtype=bfloat16"
        ) from error
    return replace(head, decoder=FlownDecoder(flow.chain, flow.rows, flow.hidden))


def _key(row: Tensor) -> bytes:
    return row.cpu().numpy().tobytes()
