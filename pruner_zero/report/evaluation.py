"""One line of the evaluation log, as any version of the program may have written it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric


@dataclass(frozen=True)
class Evaluation:
    """An evaluated candidate.

    Attributes:
        number: running number, from 1.
        generation: 0 for the initial population.
        operation: what made it, such as ``random`` or ``crossover+subtree``.
        parents: numbers of the parent candidates.
        formula: the simplified formula, which was evaluated.
        raw: the formula before simplification.
        metric: the formula as a metric; None when this version does not know its words.
        scope: whose scores compete, None for the run's own.
        perplexity: on the search windows; infinity when it failed.
        reason: why it failed, None when it did not.
        complete: False when racing stopped it; the perplexity is then an estimate.
        tokens: predicted tokens that were computed.
        cost: predicted tokens that it would have cost without an earlier run's help.
        seconds: wall-clock time.
        known_by: what made a forward pass needless, None when there was one.
        digest: identity of its masks, None when there are none.
    """

    number: int
    generation: int
    operation: str
    parents: tuple[int, ...]
    formula: str
    raw: str
    metric: Metric | None
    scope: str | None
    perplexity: float
    reason: str | None
    complete: bool
    tokens: int
    cost: int
    seconds: float
    known_by: str | None
    digest: str | None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Evaluation:
        """Read a record; what an older version did not write gets the value that it had then.

        Raises:
            KeyError, TypeError, ValueError: it is no evaluation.
        """
        tokens = int(record.get("tokens", 0))
        formula = str(record.get("simplified") or record["expression"])
        value = record["perplexity"]
        # Before there were levels, "cached" meant that the masks were known.
        known = "digest" if record.get("cached") else None
        return cls(
            number=int(record["evaluation"]),
            generation=int(record.get("generation", 0)),
            operation=str(record.get("operation", "unknown")),
            parents=tuple(int(parent) for parent in record.get("parents", ())),
            formula=formula,
            raw=str(record.get("expression", formula)),
            metric=_parsed(formula),
            scope=_text(record.get("scope")),
            perplexity=math.inf if value is None else float(value),
            reason=_text(record.get("reason")),
            complete=bool(record.get("complete", True)),
            tokens=tokens,
            cost=int(record.get("cost", tokens)),
            seconds=float(record.get("seconds", 0.0)),
            known_by=_text(record.get("known_by", known)),
            digest=_text(record.get("digest")),
        )

    @property
    def usable(self) -> bool:
        """Whether it gave a perplexity, exact or estimated."""
        return self.reason is None and 0 < self.perplexity < math.inf

    @property
    def size(self) -> int | None:
        """Nodes of the formula, None when this version cannot read it."""
        return None if self.metric is None else self.metric.size


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


@lru_cache(maxsize=100_000)
def _parsed(formula: str) -> Metric | None:
    try:
        return Metric.parse(formula)
    except UserError:
        return None
