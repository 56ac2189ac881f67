"""What evaluations did not cost, level by level, from formulas that are known to lost races."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pruner_zero.report.evaluation import Evaluation
from pruner_zero.report.run import Run

FAILED = "no usable masks or loss"
PARTLY = "known in some places"
RACED = "stopped early by racing"
SPENT = "computed"
_KNOWN = {
    "expression": "formula known in this run",
    "digest": "masks known in this run",
    "ledger": "known from an earlier run",
}


@dataclass(frozen=True)
class Level:
    """One reason not to compute, or what was computed.

    Attributes:
        name: of the reason.
        candidates: that it spared work.
        full_evaluations: that it spared; every level together makes one per candidate.
    """

    name: str
    candidates: int
    full_evaluations: float


def savings(run: Run) -> list[Level]:
    """Share out one full evaluation per candidate to what spared it and what was computed."""
    order = [FAILED, *_KNOWN.values(), PARTLY, RACED, SPENT]
    tokens: Counter[str] = Counter()
    candidates: Counter[str] = Counter()
    for evaluation in run.evaluations:
        for name, count in _shares(evaluation, run.full_tokens):
            if count > 0:
                tokens[name] += count
                candidates[name] += 1
    names = [*order, *sorted(tokens.keys() - set(order))]
    return [
        Level(name, candidates[name], tokens[name] / run.full_tokens)
        for name in names
        if tokens[name] or name == SPENT
    ]


def _shares(evaluation: Evaluation, full: int) -> Iterable[tuple[str, int]]:
    """Split the tokens of one full evaluation."""
    known = evaluation.known_by and _KNOWN.get(evaluation.known_by, evaluation.known_by)
    yield SPENT, evaluation.tokens
    yield known or PARTLY, evaluation.cost - evaluation.tokens
    left = full - max(evaluation.cost, evaluation.tokens)
    if evaluation.reason is not None:
        yield FAILED, left
    elif not evaluation.complete and evaluation.cost:
        yield RACED, left
    else:
        yield known or PARTLY, left


def left_out(counts: Mapping[str, Any]) -> int:
    """How many offspring became no candidates: known ones, and look-alikes that were put last.

    Args:
        counts: what a search counted; one of an older version has one number for both.
    """
    keys = ("refused", "waiting", "refused_by_fingerprint")
    return sum(count for key in keys if isinstance(count := counts.get(key, 0), int))


def failures(evaluations: Iterable[Evaluation]) -> list[tuple[str, int, str]]:
    """Count failures by reason, the commonest first: reason, count, an example in full.

    The layer where a failure was met is no part of the reason.
    """
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for evaluation in evaluations:
        if evaluation.reason is not None:
            reason = evaluation.reason.partition(" in ")[0]
            counts[reason] += 1
            examples.setdefault(reason, f"{evaluation.formula}: {evaluation.reason}")
    return [(reason, count, examples[reason]) for reason, count in counts.most_common()]
