"""Run a decoder block by block on stored hidden states, whatever the architecture passes along.

The whole decoder runs once, on the first sequence, to learn what each block is called with beside
the hidden states (masks, position embeddings, … which may differ between blocks). After that only
single blocks run.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.layers import find_blocks

Call = tuple[tuple[Any, ...], dict[str, Any]]


class _InputCaptured(Exception):
    """Ends a forward pass at the first block: only the block's input was wanted."""


class BlockFlow:
    """The calibration sequences' hidden states on their way through the decoder.

    Args:
        model: a causal language model.
        ids: [N, L] int64; each sequence runs alone.

    Raises:
        UserError: the blocks are not a chain of hidden states (one block's output is not the
            next one's input, or a block gets other inputs that depend on the tokens).
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, ids: Tensor) -> None:
        causal: Any = model
        self.blocks = find_blocks(model)
        self._decoder = causal.base_model
        self._name = type(model).__name__
        device = causal.get_input_embeddings().weight.device
        rows = [row.unsqueeze(0).to(device) for row in ids]
        self._calls = self._learn_calls(rows[0])
        if len(rows) > 1 and not _same(self._calls, self._learn_calls(rows[-1])):
            raise self._not_a_chain("its blocks get inputs that depend on the tokens")
        self.hidden = [self._first_input(row) for row in rows]

    @torch.no_grad()
    def run(self, block: int, keep: bool) -> None:
        """Run one block on all sequences.

        Args:
            block: index of the block.
            keep: replace the hidden states by the block's outputs, or only run it (for its hooks).
        """
        args, kwargs = self._calls[block]
        for index, hidden in enumerate(self.hidden):
            output = _first(self.blocks[block](hidden, *args, **kwargs))
            if keep:
                self.hidden[index] = output

    def _learn_calls(self, row: Tensor) -> list[Call]:
        calls: list[Call] = []
        previous: list[Tensor] = []

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del module
            hidden, call = _split(args, kwargs)
            if previous and not torch.equal(previous.pop().to(hidden.device), hidden):
                raise self._not_a_chain("a block's input is not the output of the block before")
            calls.append(call)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            del module, args
            previous.append(_first(output))

        with ExitStack() as hooks:
            for block in self.blocks:
                handle = block.register_forward_pre_hook(before, with_kwargs=True)
                hooks.callback(handle.remove)
                hooks.callback(block.register_forward_hook(after).remove)
            self._decoder(input_ids=row, use_cache=False)
        return calls

    def _first_input(self, row: Tensor) -> Tensor:
        captured: list[Tensor] = []

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del module
            captured.append(_split(args, kwargs)[0])
            raise _InputCaptured

        handle = self.blocks[0].register_forward_pre_hook(before, with_kwargs=True)
        try:
            self._decoder(input_ids=row, use_cache=False)
        except _InputCaptured:
            pass
        finally:
            handle.remove()
        return captured[0]

    def _not_a_chain(self, reason: str) -> UserError:
        return UserError(f"{self._name}: block-by-block pruning is not supported, {reason}")


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    """Part a block's arguments into the hidden states and the rest."""
    if args:
        return args[0], (args[1:], dict(kwargs))
    rest = dict(kwargs)
    return rest.pop("hidden_states"), ((), rest)


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _same(a: Any, b: Any) -> bool:
    """Whether two nested structures hold equal tensors; what is not a tensor is not compared."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, Tensor) == isinstance(b, Tensor)
