"""Pruning with the calibration activations at hand: block by block through the decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice

import torch
from torch import Tensor, nn

from pruner_zero.model.accumulators import InputStatistics
from pruner_zero.model.adaptive import adaptively_pruned
from pruner_zero.model.flow import BlockFlow
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.masks import LayerMask, prune_masks
from pruner_zero.model.obs_update import inverted
from pruner_zero.model.pruning import DenseWeights, zero_weights
from pruner_zero.model.scoring import Scoring, scorer
from pruner_zero.model.sparsegpt import reconstruct, sparsegpt
from pruner_zero.model.sparsity import SparsityPattern, Unstructured
from pruner_zero.model.statistics import Statistics

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first weight changes.

    Attributes:
        layers: all prunable layers, block by block.
        metric: the score; None for SparseGPT's own choice.
        patterns: block → its sparsity.
        statistics: of the dense model, as far as the metric needs them.
        update: ``none``, ``obs`` (the remaining weights are updated) or ``adaptive`` (the metric
            chooses while they are).
        weights: where scores of the dense model read them; by default from the layers as they are.
    """

    layers: tuple[PrunableLayer, ...]
    metric: Scoring | None
    patterns: Mapping[int, SparsityPattern]
    statistics: Statistics
    update: str
    weights: DenseWeights | None = None

    def blocks(self) -> Iterator[tuple[int, list[PrunableLayer]]]:
        """The layers of each block that has any."""
        for index, members in groupby(self.layers, key=lambda layer: layer.block):
            yield index, list(members)

    def masks(self) -> Iterator[LayerMask]:
        """Masks of all layers from the dense model's statistics alone."""
        assert self.metric is not None
        score = scorer(self.metric, self.statistics, self.weights)
        first = next(iter(self.patterns.values()))
        if isinstance(first, Unstructured) and first.scope == "model":
            yield from prune_masks(self.layers, score, first)
            return
        for index, members in self.blocks():
            yield from prune_masks(members, score, self.patterns[index])


@torch.no_grad()
def prune_through_blocks(
    model: nn.Module,
    plan: Plan,
    ids: Tensor,
    sequential: bool,
    progress: Progress | None = None,
) -> None:
    """Prune block by block while the calibration sequences flow through the decoder.

    Sequential: X, M, V, H and the update's Hessians come from activations of already pruned blocks,
    and the pruned block runs once more to feed the next one (two runs of every block). One shot:
    the dense activations flow on, all statistics are the dense model's (one run of every block).

    With the adaptive update there are no masks before the sweep that makes them.

    Args:
        model: the model, dense.
        plan: what to do.
        ids: [N, L] calibration sequences.
        sequential: which of the two.
        progress: called with (blocks done, blocks).

    Raises:
        UserError: the architecture cannot run block by block, or a Hessian cannot be inverted.
        InvalidScores: the metric gives NaN, infinite or constant scores.
    """
    flow = BlockFlow(model, ids)
    members_of = dict(plan.blocks())
    given = plan.metric is not None and not sequential and plan.update != "adaptive"
    dense_masks = plan.masks() if given else iter(())
    for index in range(len(flow.blocks)):
        with flow.chain.visit(index, keep=True):
            _prune_block(flow, index, members_of.get(index, []), plan, sequential, dense_masks)
        if progress:
            progress(index + 1, len(flow.blocks))


def _prune_block(
    flow: BlockFlow,
    index: int,
    members: list[PrunableLayer],
    plan: Plan,
    sequential: bool,
    dense_masks: Iterator[LayerMask],
) -> None:
    """Prune one block, which is on the device, and let the sequences flow through it."""
    measured = plan.metric.terminals if plan.metric is not None and sequential else frozenset()
    if plan.update == "adaptive":
        measured -= {"H"}  # comes with the update
    inputs = InputStatistics(members, measured, hessians=plan.update != "none")
    with inputs:
        flow.run(index, keep=not sequential)
    statistics = plan.statistics.with_values(inputs.result()) if sequential else plan.statistics
    if plan.metric is None:
        for layer in members:
            hessian = inputs.hessians.matrix(layer)
            pattern = plan.patterns[index]
            layer.weight.copy_(sparsegpt(layer.weight, hessian, pattern, layer.name))
    elif plan.update == "adaptive":
        inverses = inverted(inputs.hessians)
        if sequential:
            scales = {name: inverse.scale for name, inverse in inverses.items()}
            statistics = statistics.with_values({"H": scales})
        for layer in members:
            weight, _ = adaptively_pruned(
                layer,
                layer.weight,
                inverses[layer.name],
                plan.metric,
                statistics,
                plan.patterns[index],
            )
            layer.weight.copy_(weight)
    elif members:
        masks: Iterable[LayerMask] = islice(dense_masks, len(members))
        if sequential:
            masks = prune_masks(members, scorer(plan.metric, statistics), plan.patterns[index])
        for layer, mask in masks:
            if plan.update == "obs":
                hessian = inputs.hessians.matrix(layer)
                layer.weight.copy_(reconstruct(layer.weight, hessian, mask, layer.name))
            else:
                zero_weights(layer.weight.detach(), mask)
    if sequential and index + 1 < len(flow.blocks):
        flow.run(index, keep=True)
