"""The fitness worker: holds the model on its device and turns a metric into a perplexity."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import Tensor, nn

from pruner_zero.metric import Metric
from pruner_zero.model.digest import MaskDigest
from pruner_zero.model.head import CausalHead
from pruner_zero.model.layers import PrunableLayer, prunable_layers
from pruner_zero.model.masks import InvalidScores, LayerMask, prune_masks
from pruner_zero.model.perplexity import negative_log_likelihoods, perplexity_of
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import SparsityPattern
from pruner_zero.model.statistics import Statistics
from pruner_zero.search.individual import FitnessResult


class FitnessWorker:
    """Evaluates metrics on one model, which is dense again after every call, also after errors.

    Equal masks make equal pruned models, so a metric whose masks were seen before gets the known
    perplexity without a forward pass.

    Args:
        model: a dense causal language model, on its device.
        statistics: of this model.
        ids: the search windows, [N, L] int64.
        pattern: what is pruned.

    Raises:
        UserError: when the pattern does not fit a layer, before any work.
    """

    def __init__(
        self, model: nn.Module, statistics: Statistics, ids: Tensor, pattern: SparsityPattern
    ) -> None:
        """Copy the dense weights; nothing is computed yet."""
        self.model = model
        self.layers: tuple[PrunableLayer, ...] = prunable_layers(model)
        pattern.check(self.layers)
        self.pattern = pattern
        self.ids = ids
        self.head = CausalHead.of(model)
        self.statistics = statistics.to(self.head.device)
        self.dense = DenseWeights(self.layers)
        self.known: dict[str, float] = {}

    def evaluate(self, metric: Metric) -> FitnessResult:
        """Prune by the metric, measure perplexity on the search windows, restore.

        A metric that gives NaN, Inf or constant scores, or a model whose loss is not finite, is
        a result with its reason and infinite perplexity.
        """
        return self._measure(metric, self.ids, self.known)

    def perplexity(self, metric: Metric | None, ids: Tensor) -> float:
        """Perplexity on other text: of the model pruned by a metric, or dense for None.

        Args:
            metric: the metric, or None.
            ids: [N, L] int64.
        """
        if metric is None:
            return perplexity_of(*self._loss(ids))
        return self._measure(metric, ids, {}).perplexity

    def _measure(self, metric: Metric, ids: Tensor, known: dict[str, float]) -> FitnessResult:
        start = time.perf_counter()
        digest = MaskDigest()

        def digested() -> Iterator[LayerMask]:
            score = scorer(metric, self.statistics, self.dense)
            for layer, mask in prune_masks(self.layers, score, self.pattern):
                digest.update(layer.name, mask)
                yield layer, mask

        try:
            with self.dense.pruned(digested()):
                identity = digest.hexdigest()
                cached = identity in known
                tokens = 0
                if not cached:
                    nll, tokens = self._loss(ids)
                    known[identity] = perplexity_of(nll, tokens)
        except InvalidScores as failure:
            seconds = time.perf_counter() - start
            return FitnessResult(float("inf"), 0, seconds, reason=str(failure))
        perplexity = known[identity]
        reason = None if perplexity < float("inf") else "loss is not finite"
        seconds = time.perf_counter() - start
        return FitnessResult(perplexity, tokens, seconds, reason, identity, cached)

    def _loss(self, ids: Tensor) -> tuple[float, int]:
        nll, tokens = negative_log_likelihoods(self.model, ids, window=ids.shape[1], head=self.head)
        return float(nll.sum()), int(tokens.sum())
