"""A cheap first look at what a metric prunes: its masks on a few rows of a few layers.

Metrics with the same masks on the whole model nearly always have the same masks on the probe, and
the probe costs milliseconds where the model costs seconds. Whole-layer operators such as a z-score
see the probe's rows only, so the probe is a small model of its own and not a part of the masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from pruner_zero.metric import Metric
from pruner_zero.model.digest import mask_digest
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.masks import InvalidScores, prune_masks
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import SparsityPattern
from pruner_zero.model.statistics import Statistics


class Probe:
    """Some rows of several layers, with their statistics.

    Args:
        layers: all prunable layers.
        dense: their weights.
        statistics: of the same model.
        blocks: how many decoder blocks are looked at, spread from the first to the last.
        per_block: layers of each; the kinds of layers take turns.
        rows: output rows of each layer, from the first.
    """

    def __init__(
        self,
        layers: Sequence[PrunableLayer],
        dense: DenseWeights,
        statistics: Statistics,
        blocks: int = 5,
        per_block: int = 2,
        rows: int = 128,
    ) -> None:
        """Copy the rows; nothing is scored yet."""
        chosen = _spread(layers, blocks, per_block)
        self.layers = tuple(_excerpt(layer, dense, rows) for layer in chosen)
        self.statistics = statistics.excerpt({layer.name: layer.shape for layer in self.layers})

    def fingerprint(self, metric: Metric, pattern: SparsityPattern) -> str | None:
        """Digest of the probe's masks; None when the metric gives no valid scores there.

        Args:
            metric: the metric.
            pattern: what is pruned; of any scope.
        """
        try:
            return mask_digest(prune_masks(self.layers, scorer(metric, self.statistics), pattern))
        except InvalidScores:
            return None


def _spread(layers: Sequence[PrunableLayer], blocks: int, per_block: int) -> list[PrunableLayer]:
    by_block: dict[int, list[PrunableLayer]] = {}
    for layer in layers:
        by_block.setdefault(layer.block, []).append(layer)
    numbers = sorted(by_block)
    count = min(blocks, len(numbers))
    picked = []
    for index in range(count):
        members = by_block[numbers[index * (len(numbers) - 1) // max(1, count - 1)]]
        places = sorted({(index * per_block + k) % len(members) for k in range(per_block)})
        picked += [members[place] for place in places]
    return picked


def _excerpt(layer: PrunableLayer, dense: DenseWeights, rows: int) -> PrunableLayer:
    weight = dense.weight(layer)[:rows].clone()
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    module.weight = nn.Parameter(weight, requires_grad=False)
    return replace(layer, module=module)
