"""The OBS update of a whole dense model, ready for one mask, or one metric, after another.

SparseGPT's reconstruction (`sparsegpt.mended`) needs a factor of each layer's inverse Hessian. The
factors depend on the dense model and the calibration text alone: made once, they leave the sweeps
as the cost of a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.accumulators import Hessians
from pruner_zero.model.adaptive import adaptively_pruned, check_adaptive
from pruner_zero.model.flow import BlockFlow
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.layers import PrunableLayer, prunable_layers
from pruner_zero.model.modes import evaluation_mode
from pruner_zero.model.pruning import DenseWeights, UpdatedLayer
from pruner_zero.model.scoring import Scoring, check_measured
from pruner_zero.model.sparsegpt import InverseHessian, mended
from pruner_zero.model.sparsity import SparsityPattern
from pruner_zero.model.statistics import Statistics, check_ids

Progress = Callable[[int, int], None]
NO_HOST = (
    "fitness.update keeps Hessians of the whole model on the device: "
    "a model that runs block by block cannot be searched with it, set memory=resident"
)


class ObsUpdate:
    """The remaining weights of a layer, made to pay for those that a mask prunes.

    Layers with the same input share one factor, [in, in] float32: 0.4 GB for SmolLM2-135M, 22 GB
    for LLaMA-2-7B.

    Args:
        inverses: layer name → the inverse of its Hessian.
        adaptive: the metric chooses while the weights are updated, see `adaptive`; else the masks
            are given.
    """

    def __init__(self, inverses: Mapping[str, InverseHessian], adaptive: bool = False) -> None:
        self._inverses = dict(inverses)
        self.adaptive = adaptive

    @classmethod
    @torch.no_grad()
    def measure(
        cls,
        model: nn.Module,
        ids: Tensor,
        progress: Progress | None = None,
        adaptive: bool = False,
    ) -> ObsUpdate:
        """Measure the Hessians of a dense model, as one-shot pruning does, and invert them.

        Args:
            model: dense, with all its blocks on one device.
            ids: [N, L] int64 calibration sequences.
            progress: called with (blocks done, blocks).
            adaptive: see the class.

        Raises:
            UserError: blocks on the host, ids that do not fit the model, an architecture that
                cannot run block by block, or a Hessian that cannot be inverted.
        """
        if hosted_blocks(model):
            raise UserError(NO_HOST)
        check_ids(CausalHead.of(model), ids)
        layers = prunable_layers(model)
        inverses: dict[str, InverseHessian] = {}
        with evaluation_mode(model):
            flow = BlockFlow(model, ids)
            for index in range(len(flow.blocks)):
                members = [layer for layer in layers if layer.block == index]
                hessians = Hessians(members)
                with hessians:
                    flow.run(index, keep=True)
                inverses |= inverted(hessians)
                if progress:
                    progress(index + 1, len(flow.blocks))
        return cls(inverses, adaptive)

    @property
    def size(self) -> int:
        """Bytes of the factors."""
        uppers = {id(inverse.upper): inverse.upper for inverse in self._inverses.values()}
        return sum(upper.numel() * upper.element_size() for upper in uppers.values())

    def __call__(self, layer: PrunableLayer, weight: Tensor, mask: Tensor) -> Tensor:
        """Prune and update one layer.

        Args:
            layer: of the model that was measured.
            weight: its dense weight, [out, in].
            mask: bool [out, in], True where pruned.

        Returns:
            [out, in] float32, zero wherever the mask is True.
        """
        return mended(weight, self._inverses[layer.name], mask)

    def choose(
        self, metric: Scoring, statistics: Statistics, pattern: SparsityPattern, dense: DenseWeights
    ) -> Iterator[UpdatedLayer]:
        """Let a metric choose while the weights are updated, layer by layer.

        Args:
            metric: the score.
            statistics: of the model that was measured.
            pattern: see `adaptively_pruned`.
            dense: the model's layers and their dense weights.

        Yields:
            Each layer with its mask, bool [out, in], and its pruned and updated weight.

        Raises:
            UserError: a scope wider than a layer, or a terminal that was not measured.
            InvalidScores: the metric gives NaN, infinite or constant scores.
        """
        check_adaptive(pattern)
        check_measured(metric, statistics)
        for layer in dense.layers:
            weight, mask = adaptively_pruned(
                layer,
                dense.weight(layer),
                self._inverses[layer.name],
                metric,
                statistics,
                pattern,
            )
            yield layer, mask, weight


def inverted(hessians: Hessians) -> dict[str, InverseHessian]:
    """The inverse for each layer; layers that share a Hessian share it too."""
    known: dict[int, InverseHessian] = {}
    found = {}
    for layer in hessians.layers:
        matrix = hessians.matrix(layer)
        if id(matrix) not in known:
            known[id(matrix)] = InverseHessian.of(matrix, layer.name)
        found[layer.name] = known[id(matrix)]
    return found
