"""The public code's evaluation of one candidate, in plain torch, to be timed beside ours.

After the description of the public code of Pruner-Zero (arXiv:2406.02924) and Wanda
(arXiv:2306.11695): float32 throughout; decoder block by decoder block, every calibration sequence
runs through the block, hooks collect X, each row's scores are sorted completely, the lowest are
zeroed, and every sequence runs through the pruned block again; then perplexity window by window
with complete logits. Nothing is kept for the next candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruner_zero.bench.stopwatch import Stopwatch
from pruner_zero.metric import Metric
from pruner_zero.model.layers import PrunableLayer, find_blocks, prunable_layers
from pruner_zero.model.sparsity import NofM, SparsityPattern, Unstructured

PUBLIC_STAGES = ("calibrate", "sort", "forward")


@torch.no_grad()
def public_candidate(
    model: nn.Module,
    metric: Metric,
    pattern: SparsityPattern,
    gradients: dict[str, Tensor],
    calibration: Tensor,
    windows: Tensor,
) -> tuple[dict[str, float], float]:
    """Evaluate one candidate as the public code does; the model stays pruned.

    Args:
        model: a dense model in float32.
        metric: reads at most W, G and X.
        pattern: a ratio in scope ``row``, or N:M.
        gradients: layer name → G, [out, in], if the metric reads it; measured once in both flows.
        calibration: [N, L] sequences.
        windows: [N, L] windows of the evaluation.

    Returns:
        Seconds of each of ``PUBLIC_STAGES``, and the perplexity.
    """
    device = next(model.parameters()).device
    watch = Stopwatch(device)
    blocks = find_blocks(model)
    with watch.stage("calibrate"):
        hidden, rest = _first_inputs(model, blocks[0], calibration.to(device))
    for index, group in groupby(prunable_layers(model), key=lambda layer: layer.block):
        layers = list(group)
        with watch.stage("calibrate"), _squared_norms(layers, len(calibration)) as norms:
            for row in hidden:
                blocks[index](row, **rest)
        with watch.stage("sort"):
            for layer in layers:
                sources = {"G": gradients, "X": norms}
                read = {name: sources[name][layer.name] for name in metric.terminals - {"W"}}
                _prune_by_sorting(layer.weight, metric.score(layer.weight, **read), pattern)
        with watch.stage("calibrate"):
            hidden = [_states(blocks[index](row, **rest)) for row in hidden]
    with watch.stage("forward"):
        perplexity = _perplexity(model, windows.to(device))
    return {stage: watch.seconds[stage] for stage in PUBLIC_STAGES}, perplexity


class _Caught(Exception):
    """Ends a forward pass at the first block: only the block's input was wanted."""


def _first_inputs(
    model: nn.Module, block: nn.Module, ids: Tensor
) -> tuple[list[Tensor], dict[str, Any]]:
    """What the first block gets: each sequence's hidden states, and the rest, equal for all."""
    hidden: list[Tensor] = []
    rest: dict[str, Any] = {}

    def catch(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        del module
        hidden.append(args[0])
        rest.update(kwargs)
        raise _Caught

    handle = block.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        for row in ids:
            with suppress(_Caught):
                model(input_ids=row.unsqueeze(0), use_cache=False)
    finally:
        handle.remove()
    return hidden, rest


def _states(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _squared_norms(layers: Sequence[PrunableLayer], count: int) -> Iterator[dict[str, Tensor]]:
    """X of each layer, [1, in], filled while its block runs on ``count`` sequences."""
    norms = {
        layer.name: torch.zeros(1, layer.shape[1], device=layer.weight.device) for layer in layers
    }

    def hook(name: str) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            del module, output
            flat = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
            norms[name] += flat.norm(p=2, dim=0) ** 2 / count

        return add

    handles = [layer.module.register_forward_hook(hook(layer.name)) for layer in layers]
    try:
        yield norms
    finally:
        for handle in handles:
            handle.remove()


def _prune_by_sorting(weight: Tensor, scores: Tensor, pattern: SparsityPattern) -> None:
    mask = torch.zeros_like(weight, dtype=torch.bool)
    if isinstance(pattern, NofM):
        for start in range(0, weight.shape[1], pattern.m):
            group = scores[:, start : start + pattern.m]
            lowest = torch.topk(group, pattern.n, dim=1, largest=False).indices
            mask.scatter_(1, start + lowest, True)
    else:
        assert isinstance(pattern, Unstructured)
        order = torch.sort(scores, dim=-1, stable=True).indices
        mask.scatter_(1, order[:, : int(weight.shape[1] * pattern.ratio)], True)
    weight[mask] = 0


def _perplexity(model: nn.Module, windows: Tensor) -> float:
    total = torch.zeros((), dtype=torch.float64)
    for window in windows:
        logits = model(window.unsqueeze(0)).logits[0, :-1].float()
        total += F.cross_entropy(logits, window[1:]).cpu().double() * len(window)
    return float((total / windows.numel()).exp())
