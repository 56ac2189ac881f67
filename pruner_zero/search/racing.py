"""Racing: stop evaluating a metric as soon as it cannot reach the place it competes for.

All candidates see the same windows in the same order, so a candidate is compared with its rival
window by window (a paired comparison), which is far sharper than comparing two averages: most of
the variation between windows is the text's, and it cancels. The rule is that of F-Race's t-test
variant (Birattari et al. 2002), one-sided, after each rung of windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scipy import stats

from pruner_zero.errors import UserError

FirstLosses = Callable[[int], Sequence[float] | None]


@dataclass
class RacingConfig:
    """When an evaluation may stop early.

    Attributes:
        enabled: false evaluates every candidate on every window.
        rungs: numbers of windows after which a candidate may be stopped.
        confidence: of the one-sided paired t-test at a rung of two windows or more, in (0.5, 1).
        margin: loss per token, in nats, by which one single window must be worse to stop there,
            where a t-test has nothing to estimate a variance from.
        place: rank that the candidate competes for; null for the last of the hall of fame.
    """

    enabled: bool = True
    rungs: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    confidence: float = 0.95
    margin: float = 1.0
    place: int | None = None

    def check(self) -> None:
        """Raise a UserError for impossible values."""
        if any(rung < 1 for rung in self.rungs) or self.rungs != sorted(set(self.rungs)):
            raise UserError("fitness.racing.rungs must be increasing numbers of windows, from 1")
        if not 0.5 < self.confidence < 1:
            raise UserError("fitness.racing.confidence must lie in (0.5, 1)")
        if not self.margin > 0:
            raise UserError("fitness.racing.margin must be above 0")
        if self.place is not None and self.place < 1:
            raise UserError("fitness.racing.place must be at least 1")


@dataclass(frozen=True)
class Race:
    """How far a candidate got.

    Attributes:
        losses: negative log likelihood of each evaluated window, in nats.
        complete: whether nothing more is to be learnt: all windows were evaluated, or one of
            them has no finite loss.
    """

    losses: tuple[float, ...]
    complete: bool


def race(
    first: FirstLosses,
    windows: int,
    tokens: int,
    rival: Sequence[float] | None,
    config: RacingConfig,
) -> Race | None:
    """Evaluate a candidate rung by rung.

    Args:
        first: gives the losses of the first n windows, or None when it cannot.
        windows: number of all windows.
        tokens: predicted tokens per window.
        rival: losses of the rival on all windows; None when the place is free.
        config: rungs and confidence.

    Returns:
        The race, or None when ``first`` could not give the losses that decide it.
    """
    racing = config.enabled and rival is not None
    for rung in (r for r in config.rungs if racing and r < windows):
        losses = first(rung)
        if losses is None:
            return None
        if not all(math.isfinite(loss) for loss in losses):
            return Race(tuple(losses), True)
        if rival is not None and is_hopeless(losses, rival, tokens, config):
            return Race(tuple(losses), False)
    losses = first(windows)
    return None if losses is None else Race(tuple(losses), True)


def is_hopeless(
    losses: Sequence[float], rival: Sequence[float], tokens: int, config: RacingConfig
) -> bool:
    """Whether a candidate is worse than its rival beyond the stated confidence.

    Args:
        losses: of the candidate on the first n windows, in nats.
        rival: of the rival on at least these.
        tokens: predicted tokens per window.
        config: confidence and margin.
    """
    differences = _differences(losses, rival, tokens)
    count = len(differences)
    mean = sum(differences) / count
    if count == 1:
        return mean > config.margin
    variance = sum((d - mean) ** 2 for d in differences) / (count - 1)
    bound = float(stats.t.ppf(config.confidence, count - 1)) * math.sqrt(variance / count)
    return mean > bound


def estimated_nll(losses: Sequence[float], rival: Sequence[float], tokens: int) -> float:
    """Estimate the whole loss of a stopped candidate from its rival's and their differences.

    Args:
        losses: of the candidate on the first windows, in nats.
        rival: of the rival on all windows.
        tokens: predicted tokens per window.

    Returns:
        Sum over all of the rival's windows, in nats.
    """
    differences = _differences(losses, rival, tokens)
    return sum(rival) + sum(differences) / len(differences) * tokens * len(rival)


def _differences(losses: Sequence[float], rival: Sequence[float], tokens: int) -> list[float]:
    return [(a - b) / tokens for a, b in zip(losses, rival, strict=False)]
