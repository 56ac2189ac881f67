"""One candidate stage by stage, with the very functions that the fitness worker calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from torch import Tensor

from pruner_zero.bench.stopwatch import Stopwatch
from pruner_zero.metric import Metric
from pruner_zero.model.digest import MaskDigest
from pruner_zero.model.head import CausalHead
from pruner_zero.model.layers import PrunableLayer
from pruner_zero.model.masks import LayerMask, ScoreRoom, prune_masks
from pruner_zero.model.perplexity import negative_log_likelihoods
from pruner_zero.model.pruning import DenseWeights, apply_masks
from pruner_zero.model.scoring import LayerScores, scorer
from pruner_zero.model.sparsity import SparsityPattern
from pruner_zero.model.statistics import Statistics

STAGES = ("score", "mask", "digest", "apply", "forward", "restore")


@dataclass(frozen=True)
class Subject:
    """What candidates are evaluated on.

    Attributes:
        head: the model, dense between calls.
        dense: its weights.
        statistics: of the model.
        room: for scores that compete.
        ids: [N, L] windows.
    """

    head: CausalHead
    dense: DenseWeights
    statistics: Statistics
    room: ScoreRoom
    ids: Tensor

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The prunable layers."""
        return self.dense.layers


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate.

    Attributes:
        total: from the metric to the dense model again, the device waited for at the end alone.
        stages: of each of ``STAGES``, the device waited for between them.
    """

    total: float
    stages: Mapping[str, float]


def time_candidate(
    subject: Subject, metric: Metric, pattern: SparsityPattern, repeats: int = 1
) -> Timing:
    """Evaluate one metric several times; the medians count.

    Args:
        subject: the model.
        metric: the metric.
        pattern: what is pruned.
        repeats: how often.

    Raises:
        InvalidScores: the metric gives no valid scores here.
    """
    device = subject.head.device
    if device.type == "cuda":
        run_candidate(subject, metric, pattern, Stopwatch(device))  # compiles its kernels
    totals, parts = [], []
    for _ in range(repeats):
        stages, whole = Stopwatch(device), Stopwatch(device)
        with whole.stage("total"):
            run_candidate(subject, metric, pattern, stages)
        if device.type == "cuda":
            # Waiting between stages costs time there: once more without, for the total.
            whole = Stopwatch(device)
            with whole.stage("total"):
                run_candidate(subject, metric, pattern, Stopwatch(device, wait=False))
        totals.append(whole.seconds["total"])
        parts.append(stages.seconds)
    return Timing(median(totals), {name: median(part[name] for part in parts) for name in STAGES})


def run_candidate(
    subject: Subject, metric: Metric, pattern: SparsityPattern, watch: Stopwatch
) -> tuple[str, Tensor]:
    """Evaluate one metric; the model is dense again afterwards.

    Args:
        subject: the model.
        metric: the metric.
        pattern: what is pruned.
        watch: gets the seconds of each stage.

    Returns:
        Digest of the masks, and the negative log likelihood of each window.

    Raises:
        InvalidScores: the metric gives no valid scores here.
    """
    score = _TimedScores(scorer(metric, subject.statistics, subject.dense), watch)
    digest = MaskDigest()

    def masks() -> Iterator[LayerMask]:
        stream = prune_masks(subject.layers, score, pattern, subject.room)
        while True:
            with watch.stage("mask"):
                made = next(stream, None)
            if made is None:
                return
            with watch.stage("digest"):
                digest.update(made[0].name, made[1])
            yield made

    try:
        with watch.stage("apply"):
            apply_masks(masks())
        with watch.stage("digest"):
            identity = digest.hexdigest()
        with watch.stage("forward"):
            losses = window_losses(subject)
    finally:
        with watch.stage("restore"):
            subject.dense.restore()
    return identity, losses


@dataclass(frozen=True)
class _TimedScores:
    """Scores of layers, with the seconds that they take."""

    plain: LayerScores
    watch: Stopwatch

    @property
    def window(self) -> int:
        return self.plain.window

    def __call__(self, layer: PrunableLayer) -> Tensor:
        with self.watch.stage("score"):
            return self.plain(layer)

    def stacked(self, layers: Sequence[PrunableLayer]) -> Tensor:
        with self.watch.stage("score"):
            return self.plain.stacked(layers)


def window_losses(subject: Subject) -> Tensor:
    """Negative log likelihood of each window with the model's present weights, float64."""
    length = subject.ids.shape[1]
    nll, _ = negative_log_likelihoods(subject.head.model, subject.ids, length, head=subject.head)
    return nll


def time_forward(subject: Subject, repeats: int = 1) -> float:
    """Median seconds of the losses of all windows with the model's present weights."""
    seconds = []
    for _ in range(repeats):
        watch = Stopwatch(subject.head.device)
        with watch.stage("forward"):
            window_losses(subject)
        seconds.append(watch.seconds["forward"])
    return median(seconds)
