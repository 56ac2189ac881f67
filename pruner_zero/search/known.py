"""What the candidates of one run have shown: equal masks need no second evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pruner_zero.search.individual import FitnessResult

Key = tuple[str, str]


class KnownResults:
    """Results by the digest of their masks, and digests by expression and scope.

    Results come in the order of the candidates, one of each digest counts: the first. So what is
    known when a candidate's turn comes, and what it therefore costs, does not depend on how many
    workers there are or how fast they are.

    Args:
        window_tokens: predicted tokens per search window.
        reuse: False charges known masks like new ones.
    """

    def __init__(self, window_tokens: int, reuse: bool = True) -> None:
        """Know nothing."""
        self.window_tokens = window_tokens
        self.reuse = reuse
        self._results: dict[str, FitnessResult] = {}
        self._digests: dict[Key, str] = {}
        self._fingerprints: set[str] = set()

    def by_expression(self, key: Key) -> FitnessResult | None:
        """The result of the same text and scope."""
        digest = self._digests.get(key)
        return None if digest is None else self._again(digest, "expression")

    def by_digest(self, digest: str | None) -> FitnessResult | None:
        """The result of the same masks."""
        return self._again(digest, "digest") if digest in self._results else None

    def looks_known(self, fingerprint: str | None) -> bool:
        """Whether a candidate had this look on the probe."""
        return fingerprint in self._fingerprints

    def settle(self, key: Key, result: FitnessResult) -> FitnessResult:
        """Take a candidate's result at its turn.

        Args:
            key: text of its metric, and name of its scope.
            result: what was computed, perhaps before the results of earlier candidates came.

        Returns:
            The result as it counts: that of the first candidate with the same masks, if any. The
            tokens that were computed stay as they are.
        """
        if result.fingerprint:
            self._fingerprints.add(result.fingerprint)
        known = self.by_expression(key) or self.by_digest(result.digest)
        if known is not None:
            result = replace(
                known,
                tokens=result.tokens,
                seconds=result.seconds,
                fingerprint=result.fingerprint,
            )
        if result.digest is not None:
            self._results.setdefault(result.digest, result)
            self._digests[key] = result.digest
        return result

    def remember(self, key: Key, record: Mapping[str, Any]) -> None:
        """Take back a candidate of an earlier process of this run, from its log."""
        if record["fingerprint"]:
            self._fingerprints.add(record["fingerprint"])
        if record["digest"]:
            self._results.setdefault(record["digest"], FitnessResult.from_record(record))
            self._digests[key] = record["digest"]

    def _again(self, digest: str | None, level: str) -> FitnessResult:
        known = self._results[str(digest)]
        cost = 0 if self.reuse else len(known.losses) * self.window_tokens
        return replace(known, tokens=0, cost=cost, known_by=level)
