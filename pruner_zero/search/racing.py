"""Racing: stop evaluating a metric as soon as it cannot reach the place it competes for.

All candidates see the same windows in the same order, so a candidate is compared with its rival
window by window (a paired comparison), which is far sharper than comparing two averages: most of
the variation between windows is the text's, and it cancels. The rule is that of F-Race's t-test
variant (Birattari et al. 2002), one-sided, after each rung of windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

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
            where a t-test has nothing to estimate a variance from. Two metrics' differences vary
            little from window to window, see ``experiments/racing_study``; 0.3 nats are 1.35
            times the perplexity.
        place: rank that the candidate competes for; null for the last of the hall of fame.
        abandon: while that place is free, loss per token, in nats, by which a candidate must be
            worse than the best so far to be stopped at any rung: it would fill the hall of fame
            with what nobody wants. 2 nats are 7.4 times the perplexity.
    """

    enabled: bool = True
    rungs: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    confidence: float = 0.95
    margin: float = 0.3
    place: int | None = None
    abandon: float = 2.0

    def for_texts(self, count: int) -> RacingConfig:
        """The rungs at which windows of several texts, in turn, have been seen equally often.

        Args:
            count: number of texts.
        """
        return replace(self, rungs=sorted({-(-rung // count) * count for rung in self.rungs}))

    def check(self) -> None:
        """Raise a UserError for impossible values."""
        if any(rung < 1 for rung in self.rungs) or self.rungs != sorted(set(self.rungs)):
            raise UserError("fitness.racing.rungs must be increasing numbers of windows, from 1")
        if not 0.5 < self.confidence < 1:
            raise UserError("fitness.racing.confidence must lie in (0.5, 1)")
        if not self.margin > 0 or not self.abandon > 0:
            raise UserError("fitness.racing.margin and abandon must be above 0")
        if self.place is not None and self.place < 1:
            raise UserError("fitness.racing.place must be at least 1")


@dataclass(frozen=True)
class Rival:
    """Whom a candidate is compared with.

    Attributes:
        losses: of the rival on all windows, in nats.
        holds_place: True for the holder of the place; False for the best so far while the place
            is free.
    """

    losses: tuple[float, ...]
    holds_place: bool = True


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
    rival: Rival | None,
    config: RacingConfig,
) -> Race | None:
    """Evaluate a candidate rung by rung.

    Args:
        first: gives the losses of the first n windows, or None when it cannot.
        windows: number of all windows.
        tokens: predicted tokens per window.
        rival: whom it must beat; None when there is nobody.
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


def is_hopeless(losses: Sequence[float], rival: Rival, tokens: int, config: RacingConfig) -> bool:
    """Whether a candidate is worse than its rival beyond the stated confidence.

    Args:
        losses: of the candidate on the first n windows, in nats.
        rival: whom it must beat.
        tokens: predicted tokens per window.
        config: confidence and margins.
    """
    differences = _differences(losses, rival.losses, tokens)
    count = len(differences)
    mean = sum(differences) / count
    if not rival.holds_place:
        return mean > config.abandon
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
