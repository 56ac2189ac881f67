"""The Pareto front of perplexity and formula size."""

from __future__ import annotations

from collections.abc import Iterable

from pruner_zero.report.evaluation import Evaluation


def pareto_front(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Return the complete evaluations that no other one beats in both objectives, by size.

    Of equal ones the first is kept.
    """
    candidates = [e for e in evaluations if e.usable and e.complete and e.size is not None]
    front: list[Evaluation] = []
    for evaluation in sorted(candidates, key=lambda e: (e.size, e.perplexity, e.number)):
        if not front or evaluation.perplexity < front[-1].perplexity:
            front.append(evaluation)
    return front
