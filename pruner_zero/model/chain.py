"""A decoder cut at its blocks: what comes before them, single blocks, and what comes after.

The whole decoder runs once for each length of sequence, to learn what each block is called with
beside the hidden states (masks, position embeddings, … which may differ between blocks). After that
only single blocks run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.layers import find_blocks

Call = tuple[tuple[Any, ...], dict[str, Any]]


class _InputCaptured(Exception):
    """Ends a forward pass at the first block: only the block's input was wanted."""


class DecoderChain:
    """One decoder as a chain of blocks, for sequences that run alone.

    Use ``DecoderChain.of``, which keeps what was learnt about a model with hosted blocks.

    Args:
        model: a causal language model.
    """

    def __init__(self, model: nn.Module) -> None:
        causal: Any = model
        self.blocks = find_blocks(model)
        self._decoder = causal.base_model
        self._name = type(model).__name__
        self._embeddings = causal.get_input_embeddings()
        self._hosted = hosted_blocks(model)
        self._calls: dict[int, list[Call]] = {}
        self._rests: list[tuple[Any, ...] | None] = []

    @classmethod
    def of(cls, model: nn.Module) -> DecoderChain:
        """The chain of a model; of one with hosted blocks always the same."""
        hosted = hosted_blocks(model)
        if hosted is None:
            return cls(model)
        hosted.chain = hosted.chain or cls(model)
        return hosted.chain

    @property
    def device(self) -> torch.device:
        """Where ids and hidden states are."""
        return self._embeddings.weight.device

    def visit(self, block: int, keep: bool = False) -> AbstractContextManager[None]:
        """Have a block's weights on the device; see `HostedBlocks.visit`."""
        return self._hosted.visit(block, keep) if self._hosted else nullcontext()

    @torch.no_grad()
    def learn(self, row: Tensor) -> None:
        """Learn the calls of sequences of this length, if they are not known.

        Args:
            row: [1, L] ids on the device.

        Raises:
            UserError: the blocks are not a chain of hidden states (one block's output is not the
                next one's input, or a block gets other inputs that depend on the tokens).
        """
        if row.shape[1] in self._calls:
            return
        calls = self._run_whole(row)
        others = (row + 1) % self._embeddings.weight.shape[0]
        if not _same(calls, self._run_whole(others)):
            raise self._not_a_chain("its blocks get inputs that depend on the tokens")
        self._calls[row.shape[1]] = calls

    @torch.no_grad()
    def first_input(self, row: Tensor) -> Tensor:
        """The hidden states [1, L, width] with which ids [1, L] enter the first block."""
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

    def run(self, block: int, hidden: Tensor) -> Tensor:
        """Run one block on the hidden states [1, L, width] of a sequence of a learnt length."""
        args, kwargs = self._calls[hidden.shape[1]][block]
        return _first(self.blocks[block](hidden, *args, **kwargs))

    def finish(self, row: Tensor, hidden: Tensor) -> Any:
        """What the decoder returns for ids [1, L] when its last block gave ``hidden``."""
        with self._replaced_by(hidden):
            return self._decoder(input_ids=row, use_cache=False)

    def _run_whole(self, row: Tensor) -> list[Call]:
        calls: list[Call] = []
        rests: list[tuple[Any, ...] | None] = []
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
            rests.append(output[1:] if isinstance(output, tuple) else None)

        with ExitStack() as hooks:
            for block in self.blocks:
                handle = block.register_forward_pre_hook(before, with_kwargs=True)
                hooks.callback(handle.remove)
                hooks.callback(block.register_forward_hook(after).remove)
            self._decoder(input_ids=row, use_cache=False)
        self._rests = rests
        return calls

    @contextmanager
    def _replaced_by(self, hidden: Tensor) -> Iterator[None]:
        """Blocks do not compute but return the hidden states, in the form that they always use."""
        own = [vars(block).get("forward") for block in self.blocks]

        def returns(rest: tuple[Any, ...] | None) -> Any:
            output = hidden if rest is None else (hidden, *rest)
            return lambda *args, **kwargs: output

        try:
            for block, rest in zip(self.blocks, self._rests, strict=True):
                block.forward = returns(rest)
            yield
        finally:
            for block, forward in zip(self.blocks, own, strict=True):
                if forward is None:
                    del block.forward
                else:
                    block.forward = forward

    def _not_a_chain(self, reason: str) -> UserError:
        return UserError(f"{self._name}: running block by block is not supported, {reason}")


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
