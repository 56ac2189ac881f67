"""How far a model can be pruned: the highest sparsity whose loss stays within a tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Probe:
    """One measured sparsity.

    Attributes:
        sparsity: as users write it.
        ratio: share of weights pruned.
        perplexity: of the pruned model.
        change: perplexity over the dense one, minus 1.
        margin: half width of the 95 % confidence interval of ``change``, from the spread between
            windows; infinity when there is one window only.
    """

    sparsity: str
    ratio: float
    perplexity: float
    change: float
    margin: float


def compare_losses(
    sparsity: str,
    ratio: float,
    pruned: Sequence[float],
    dense: Sequence[float],
    tokens: Sequence[int],
) -> Probe:
    """Compare a pruned model with the dense one, window by window.

    Args:
        sparsity: as users write it.
        ratio: share of weights pruned.
        pruned: negative log likelihood per window, in nats.
        dense: the same of the dense model.
        tokens: predicted tokens per window.
    """
    total = sum(tokens)
    mean = (sum(pruned) - sum(dense)) / total
    differences = [(p - d) / t for p, d, t in zip(pruned, dense, tokens, strict=True)]
    count = len(differences)
    margin = math.inf
    if count > 1 and math.isfinite(mean):
        centre = sum(differences) / count
        deviation = math.sqrt(sum((d - centre) ** 2 for d in differences) / (count - 1))
        half = float(stats.t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
        margin = _exp(mean + half) - _exp(mean)
    perplexity = _exp(sum(pruned) / total)
    return Probe(sparsity, ratio, perplexity, _exp(mean) - 1, margin)


def highest_ratio(
    measure: Callable[[float], Probe], tolerance: float, resolution: float, highest: float
) -> tuple[Probe | None, list[Probe]]:
    """Find the highest unstructured sparsity within a tolerance by bisection.

    Perplexity is taken to grow with sparsity. Where it does not (a little pruning may even help),
    the answer is still a measured point within the tolerance, though not surely the last one.

    Args:
        measure: prunes to a ratio and measures.
        tolerance: greatest change of perplexity, 0.05 for 5 %.
        resolution: distance of ratios at which to stop.
        highest: greatest ratio that is tried.

    Returns:
        The best probe within the tolerance, None when even one step of ``resolution`` is not, and
        all probes in the order in which they were made.
    """
    steps = int(highest / resolution + 1e-9)  # 0.9 / 0.01 is 90 but for its rounding
    probes: list[Probe] = []

    def fits(step: int) -> bool:
        probes.append(measure(step * resolution))
        return probes[-1].change <= tolerance

    low, high = 0, steps + 1  # low fits (dense), high does not
    if fits(steps):
        low = steps
    else:
        high = steps
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    within = [probe for probe in probes if probe.change <= tolerance]
    return max(within, key=lambda probe: probe.ratio, default=None), probes


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # NaN compares false
