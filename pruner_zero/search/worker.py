"""The fitness worker: holds the model on its device and turns a metric into a perplexity."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.model.digest import MaskDigest
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.hosted_weights import HostedWeights, dense_weights
from pruner_zero.model.layers import PrunableLayer, prunable_layers
from pruner_zero.model.masks import InvalidScores, LayerMask, ScoreRoom, prune_masks
from pruner_zero.model.obs_update import NO_HOST, ObsUpdate
from pruner_zero.model.packed import kept
from pruner_zero.model.perplexity import negative_log_likelihoods, perplexity_of
from pruner_zero.model.placement import place, with_room
from pruner_zero.model.pruning import DenseWeights, UpdatedLayer
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import SparsityPattern, Unstructured, with_scope
from pruner_zero.model.statistics import Statistics
from pruner_zero.search.fingerprint import Probe
from pruner_zero.search.individual import FitnessResult
from pruner_zero.search.known import Key, KnownResults
from pruner_zero.search.ledger import LossStore
from pruner_zero.search.racing import Race, RacingConfig, Rival, estimated_nll, race

WHOLE = RacingConfig(enabled=False)
_Item = TypeVar("_Item", LayerMask, UpdatedLayer)


class FitnessWorker:
    """Evaluates metrics on one model, which is dense again after every call, also after errors.

    Equal masks make equal pruned models, so a metric whose masks were seen before gets the known
    perplexity without a forward pass. What the ledger knows is not computed again, but it is
    charged like new work, so that a search takes the same course with and without a ledger.

    Args:
        model: a dense causal language model, on its device.
        statistics: of this model.
        ids: the search windows, [N, L] int64; all candidates see them in this order.
        pattern: what is pruned.
        racing: when an evaluation may stop early; by default never.
        ledger: where losses are kept for other runs.
        dense: the dense weights, if another worker of this model has a copy of them already.
        reuse: False charges masks that are known in this run like new ones, as a search without
            identity by masks would; for studies of what that identity saves.
        on_full: called when the device is out of memory, before the model's blocks move to the
            host and the evaluation runs again; None makes that an error.
        score_memory: GB in which scores that compete over a block or the model are kept; what
            does not fit is computed three times.
        compile: compile the decoder; pays when many candidates follow.
        update: follows every candidate's masks before its loss is measured; the ledger must be of
            a context that says so.

    Raises:
        UserError: when the pattern does not fit a layer, or for an update of a model with hosted
            blocks; before any work.
    """

    def __init__(
        self,
        model: nn.Module,
        statistics: Statistics,
        ids: Tensor,
        pattern: SparsityPattern,
        racing: RacingConfig = WHOLE,
        ledger: LossStore | None = None,
        dense: DenseWeights | None = None,
        reuse: bool = True,
        on_full: Callable[[], None] | None = None,
        score_memory: float = 1.0,
        compile: bool = False,
        update: ObsUpdate | None = None,
    ) -> None:
        """Copy the dense weights; nothing is computed yet."""
        self.model = model
        self.layers: tuple[PrunableLayer, ...] = prunable_layers(model)
        pattern.check(self.layers)
        if update is not None and hosted_blocks(model):
            raise UserError(NO_HOST)
        self.pattern = pattern
        self.ids = ids
        self.racing = racing
        self.ledger = ledger
        self.on_full = on_full
        self.score_memory = score_memory
        self.compile = compile
        self.update = update
        self.room = ScoreRoom(int(score_memory * 1e9))
        hosted = hosted_blocks(model) is not None
        head = CausalHead.of(model)
        self.head = head.compiled() if compile and not hosted else head
        self.statistics = statistics if hosted else statistics.to(self.head.device)
        self.dense = dense or dense_weights(model, self.layers)
        self.probe = Probe(self.layers, self.dense, self.statistics)
        self.known = KnownResults(self.window_tokens, reuse)

    @property
    def window_tokens(self) -> int:
        """Predicted tokens per search window."""
        return self.ids.shape[1] - 1

    @property
    def full_tokens(self) -> int:
        """Predicted tokens of one evaluation that is not stopped early."""
        return len(self.ids) * self.window_tokens

    def evaluate(
        self, metric: Metric, scope: str | None = None, rival: Rival | None = None
    ) -> FitnessResult:
        """Prune by the metric, measure perplexity on the search windows, restore.

        A metric that gives NaN, Inf or constant scores, or a model whose loss is not finite, is
        a result with its reason and infinite perplexity.

        Args:
            metric: the metric.
            scope: whose scores compete, None for the pattern's own.
            rival: whom the metric must beat; None evaluates it on every window.
        """
        return self.settle(metric, scope, self.compute(metric, scope, rival))

    def compute(
        self, metric: Metric, scope: str | None = None, rival: Rival | None = None
    ) -> FitnessResult:
        """Evaluate like `evaluate`, before the candidate's turn: nothing is remembered yet."""
        start = time.perf_counter()
        pattern = with_scope(self.pattern, scope)
        key = self._key(metric, scope)
        fingerprint = self.probe.fingerprint(metric, pattern)
        result = (
            self.known.by_expression(key)
            or self._from_ledger(key, rival)
            or self.with_room(lambda: self._from_model(metric, pattern, key, rival))
        )
        return replace(result, seconds=time.perf_counter() - start, fingerprint=fingerprint)

    def settle(
        self, metric: Metric | str, scope: str | None, result: FitnessResult
    ) -> FitnessResult:
        """Take a computed result at the candidate's turn, see `KnownResults.settle`."""
        return self.known.settle(self._key(metric, scope), result)

    def looks_known(self, metric: Metric, scope: str | None) -> bool:
        """Whether a metric looks on the probe like one that was evaluated; costs milliseconds."""
        return self.known.looks_known(self.fingerprint(metric, scope))

    def fingerprint(self, metric: Metric, scope: str | None) -> str | None:
        """The look of a metric's masks on the probe; None when it gives no valid scores there."""
        return self.probe.fingerprint(metric, with_scope(self.pattern, scope))

    def perplexity(
        self,
        metric: Metric | None,
        ids: Tensor,
        scope: str | None = None,
        update: bool = True,
    ) -> float:
        """Perplexity on other text: of the model pruned by a metric, or dense for None.

        Args:
            metric: the metric, or None.
            ids: [N, L] int64.
            scope: whose scores compete, None for the pattern's own.
            update: follow the masks by this worker's update, if it has one.
        """
        mend = self.update if update else None
        return self.with_room(lambda: self._perplexity_of(metric, ids, scope, mend))

    def _perplexity_of(
        self, metric: Metric | None, ids: Tensor, scope: str | None, mend: ObsUpdate | None
    ) -> float:
        if metric is None:
            return _perplexity(self._losses(ids), ids)
        try:
            with self._pruned(metric, with_scope(self.pattern, scope), mend):
                return _perplexity(self._losses(ids), ids)
        except InvalidScores:
            return float("inf")

    def _pruned(
        self,
        metric: Metric,
        pattern: SparsityPattern,
        mend: ObsUpdate | None,
        note: Callable[[str, Tensor], None] = lambda *_: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> AbstractContextManager[None]:
        """The model pruned by a metric inside a ``with`` block.

        Args:
            metric: the metric.
            pattern: what is pruned.
            mend: the update, if any.
            note: is told every layer's name and mask.
            wanted: asked before an update of given masks, which is dear: False leaves the model
                as it is.
        """
        if mend is not None and mend.adaptive:
            chosen = mend.choose(metric, self.statistics, pattern, self.dense)
            return self.dense.replaced(_noted(chosen, note))
        score = scorer(metric, self.statistics, self.dense)
        masks = _noted(prune_masks(self.layers, score, pattern, self.room), note)
        if mend is None:
            return self.dense.pruned(masks)
        masks = kept(masks)
        return self.dense.pruned(masks if wanted() else (), mend)

    def scope_for(self, scope: str | None) -> str | None:
        """The scope that counts here: an individual's own, but none where N:M has its groups."""
        return scope if isinstance(self.pattern, Unstructured) else None

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take back what an earlier process of this run evaluated, from its log."""
        self.known.remember(self._key(record["simplified"], record["scope"]), record)

    def _key(self, metric: Metric | str, scope: str | None) -> Key:
        return str(metric), _scope_name(with_scope(self.pattern, scope))

    def _from_ledger(self, key: Key, rival: Rival | None) -> FitnessResult | None:
        """The result without touching the model, where the ledger knows enough for it."""
        digest = self.ledger.digest(*key) if self.ledger else None
        if self.ledger is None or digest is None:
            return None
        if (again := self.known.by_digest(digest)) is not None:
            return again
        known = self.ledger.losses(digest)
        run = race(
            lambda n: known[:n] if n <= len(known) else None,
            len(self.ids),
            self.window_tokens,
            rival,
            self.racing,
        )
        return None if run is None else self._result(run, digest, 0, rival, "ledger")

    def _from_model(
        self,
        metric: Metric,
        pattern: SparsityPattern,
        key: Key,
        rival: Rival | None,
    ) -> FitnessResult:
        start = time.perf_counter()
        digest = MaskDigest()

        def is_new() -> bool:
            return self.known.by_digest(digest.hexdigest()) is None

        try:
            with self._pruned(metric, pattern, self.update, digest.update, is_new):
                identity = digest.hexdigest()
                if (again := self.known.by_digest(identity)) is not None:
                    return again
                known = self.ledger.losses(identity) if self.ledger else ()
                losses = list(known)

                def first(count: int) -> list[float]:
                    if len(losses) < count:
                        losses.extend(self._losses(self.ids[len(losses) : count]))
                    return losses[:count]

                run = race(first, len(self.ids), self.window_tokens, rival, self.racing)
        except InvalidScores as failure:
            return FitnessResult(float("inf"), reason=str(failure))
        assert run is not None  # the model gives every loss that is asked for
        if self.ledger:
            seconds = time.perf_counter() - start
            self.ledger.record(*key, identity, tuple(losses), seconds)
        computed = len(losses) - len(known)
        return self._result(run, identity, computed, rival, None if computed else "ledger")

    def _result(
        self,
        run: Race,
        digest: str,
        computed: int,
        rival: Rival | None,
        known_by: str | None,
    ) -> FitnessResult:
        if run.complete or rival is None:
            perplexity = _perplexity(run.losses, self.ids)
        else:
            nll = estimated_nll(run.losses, rival.losses, self.window_tokens)
            perplexity = perplexity_of(nll, self.full_tokens)
        return FitnessResult(
            perplexity=perplexity,
            tokens=computed * self.window_tokens,
            cost=len(run.losses) * self.window_tokens,
            reason=None if perplexity < float("inf") else "loss is not finite",
            digest=digest,
            losses=run.losses,
            complete=run.complete,
            known_by=known_by,
        )

    def with_room(self, action: Callable[[], Any]) -> Any:
        """Do something; when the device is full, go on with the blocks on the host."""
        hosted = isinstance(self.dense, HostedWeights)
        movable = self.on_full is not None and self.update is None and not hosted
        return with_room(action, self._to_host if movable else None)

    def _to_host(self) -> None:
        if self.on_full:
            self.on_full()
        place(self.model, self.head.device, "blockwise")
        self.dense = dense_weights(self.model, self.layers)
        self.statistics = self.statistics.to("cpu")

    def _losses(self, ids: Tensor) -> list[float]:
        nll, _ = negative_log_likelihoods(self.model, ids, window=ids.shape[1], head=self.head)
        return [float(value) for value in nll]


def _noted(items: Iterator[_Item], note: Callable[[str, Tensor], None]) -> Iterator[_Item]:
    for item in items:
        note(item[0].name, item[1])
        yield item


def _perplexity(losses: Sequence[float], ids: Tensor) -> float:
    return perplexity_of(sum(losses), len(losses) * (ids.shape[1] - 1))


def _scope_name(pattern: SparsityPattern) -> str:
    return pattern.scope if isinstance(pattern, Unstructured) else "group"
