"""Best and median perplexity against what was spent."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pruner_zero.report.run import Run


@dataclass(frozen=True)
class Curve:
    """How a search went; all sequences have one value per candidate.

    Attributes:
        cost: spent so far, in full evaluations; failed and repeated candidates cost none.
        minutes: of evaluation so far, summed.
        best: lowest perplexity of a complete evaluation so far, infinity before the first.
        median: of the last ``window`` usable candidates, infinity before the first.
        window: how many candidates the median takes.
    """

    cost: tuple[float, ...]
    minutes: tuple[float, ...]
    best: tuple[float, ...]
    median: tuple[float, ...]
    window: int

    @classmethod
    def of(cls, run: Run) -> Curve:
        """The curve of a run; the median's window is its population size."""
        size = run.setting("search.population_size")
        window = size if isinstance(size, int) and size > 0 else 16
        cost, minutes, best, median = [], [], [], []
        spent, seconds, lowest = 0, 0.0, math.inf
        latest: deque[float] = deque(maxlen=window)
        for evaluation in run.evaluations:
            spent += evaluation.cost
            seconds += evaluation.seconds
            if evaluation.usable:
                latest.append(evaluation.perplexity)
                if evaluation.complete:
                    lowest = min(lowest, evaluation.perplexity)
            cost.append(spent / run.full_tokens)
            minutes.append(seconds / 60)
            best.append(lowest)
            median.append(statistics.median(latest) if latest else math.inf)
        return cls(tuple(cost), tuple(minutes), tuple(best), tuple(median), window)

    def at(self, cost: float) -> float:
        """Best complete perplexity once this much was spent."""
        index = bisect_right(self.cost, cost) - 1
        return self.best[index] if index >= 0 else math.inf


@dataclass(frozen=True)
class Spread:
    """Several searches at the same costs: the middle one and the range, None where one has none."""

    cost: tuple[float, ...]
    low: tuple[float | None, ...]
    middle: tuple[float | None, ...]
    high: tuple[float | None, ...]


def spread(curves: Sequence[Curve], costs: Sequence[float]) -> Spread:
    """Return median and range of the best over curves at given costs.

    Args:
        curves: of runs that belong together, such as seeds.
        costs: in full evaluations, rising.
    """
    low: list[float | None] = []
    middle: list[float | None] = []
    high: list[float | None] = []
    for cost in costs:
        values = [curve.at(cost) for curve in curves]
        known = bool(values) and all(map(math.isfinite, values))
        low.append(min(values) if known else None)
        middle.append(statistics.median(values) if known else None)
        high.append(max(values) if known else None)
    return Spread(tuple(costs), tuple(low), tuple(middle), tuple(high))


def common_costs(curves: Sequence[Curve], points: int = 200) -> list[float]:
    """Evenly spaced costs up to the one that every curve reached; none when one is empty."""
    if not curves or not all(curve.cost for curve in curves):
        return []
    reached = min(curve.cost[-1] for curve in curves)
    return [reached * (index + 1) / points for index in range(points)]
