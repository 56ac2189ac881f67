"""One metric judged on several models or sparsities at once, so that what is found transfers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pruner_zero.metric import Metric
from pruner_zero.search.individual import FitnessResult
from pruner_zero.search.racing import Rival
from pruner_zero.search.worker import FitnessWorker


class JointWorker:
    """The geometric mean of several workers' perplexities, as one fitness.

    A metric that fails in one place has failed. Races are run in each part on its own terms only
    where there is one part; here every part is evaluated in full, because stopping in one says
    nothing about the mean.

    Args:
        parts: workers that do not race; N:M parts take no scope.
    """

    def __init__(self, parts: Sequence[FitnessWorker]) -> None:
        self.parts = tuple(parts)
        self._fingerprints: set[str] = set()

    @property
    def full_tokens(self) -> int:
        """Predicted tokens of one evaluation of all parts."""
        return sum(part.full_tokens for part in self.parts)

    def evaluate(
        self, metric: Metric, scope: str | None = None, rival: Rival | None = None
    ) -> FitnessResult:
        """Evaluate a metric in every part, in order, up to the first failure.

        Args:
            metric: the metric.
            scope: whose scores compete, where a part has a scope.
            rival: not used: every part is evaluated in full.
        """
        return self.settle(metric, scope, self.compute(metric, scope, rival))

    def compute(
        self, metric: Metric, scope: str | None = None, rival: Rival | None = None
    ) -> FitnessResult:
        """Evaluate like `evaluate`, before the candidate's turn: nothing is remembered yet."""
        del rival
        results: list[FitnessResult] = []
        for part in self.parts:
            results.append(part.compute(metric, part.scope_for(scope)))
            if results[-1].reason is not None:
                break
        return _mean(results)

    def settle(
        self, metric: Metric | str, scope: str | None, result: FitnessResult
    ) -> FitnessResult:
        """Take a computed result at the candidate's turn, part by part."""
        if not result.parts:
            return result
        settled = [
            part.settle(metric, part.scope_for(scope), own)
            for part, own in zip(self.parts, result.parts, strict=False)
        ]
        joint = _mean(settled)
        if joint.fingerprint:
            self._fingerprints.add(joint.fingerprint)
        return joint

    def looks_known(self, metric: Metric, scope: str | None) -> bool:
        """Whether a metric looks on all probes like one that was evaluated."""
        return self._look(metric, scope) in self._fingerprints

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take back what an earlier process of this run evaluated, from its log."""
        if record["fingerprint"]:
            self._fingerprints.add(record["fingerprint"])
        for part, own in zip(self.parts, record.get("parts", ()), strict=False):
            scope = part.scope_for(record["scope"])
            part.remember({**own, "simplified": record["simplified"], "scope": scope})

    def _look(self, metric: Metric, scope: str | None) -> str | None:
        looks = [part.fingerprint(metric, part.scope_for(scope)) for part in self.parts]
        return _joined(looks)


def _mean(results: Sequence[FitnessResult]) -> FitnessResult:
    """One result for those of the parts, of which the last alone may have failed."""
    reason = results[-1].reason
    logs = [math.log(result.perplexity) for result in results if result.reason is None]
    levels = {result.known_by for result in results}
    return FitnessResult(
        perplexity=float("inf") if reason else math.exp(sum(logs) / len(logs)),
        tokens=sum(result.tokens for result in results),
        cost=sum(result.cost for result in results),
        seconds=sum(result.seconds for result in results),
        reason=reason,
        digest=None if reason else _joined([result.digest for result in results]),
        losses=tuple(loss for result in results for loss in result.losses),
        known_by=levels.pop() if len(levels) == 1 else None,
        fingerprint=_joined([result.fingerprint for result in results]),
        parts=tuple(results),
    )


def _joined(names: Sequence[str | None]) -> str | None:
    """One name for several, None when one is missing."""
    if None in names:
        return None
    return hashlib.blake2b(" ".join(map(str, names)).encode(), digest_size=16).hexdigest()
