"""After the search: validation picks from the hall of fame, and the test text is read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pruner_zero.commands.display import Display
from pruner_zero.metric import Metric
from pruner_zero.model.methods import resolve_method, resolve_pattern
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.prune import prune
from pruner_zero.search.individual import Ranked
from pruner_zero.search.worker import FitnessWorker


@dataclass(frozen=True)
class Pick:
    """A metric of the hall of fame with its perplexity on the validation split."""

    metric: Metric
    scope: str | None
    search: float
    validation: float

    def record(self) -> dict[str, Any]:
        """Return the pick as plain JSON values."""
        return {
            "expression": str(self.metric),
            "scope": self.scope,
            "nodes": self.metric.size,
            "search_perplexity": self.search,
            "validation_perplexity": _finite(self.validation),
        }


def validate(
    worker: FitnessWorker, ranking: Sequence[Ranked], ids: Tensor, display: Display
) -> list[Pick]:
    """Measure the best of the hall of fame on the validation split.

    Args:
        worker: holds the model.
        ranking: the metrics, best first on the search windows.
        ids: validation windows, [N, L].
        display: shows the progress.

    Returns:
        The metrics, best first on the validation split.
    """
    display.say(f"choosing among the best {len(ranking)} on the validation split")
    picks = []
    with display.steps("validating") as step:
        for index, (metric, scope, value) in enumerate(ranking):
            picks.append(Pick(metric, scope, value, worker.perplexity(metric, ids, scope)))
            step(index + 1, len(ranking))
    return sorted(picks, key=lambda pick: (pick.validation, pick.search))


def measure_test(
    worker: FitnessWorker,
    methods: Sequence[str],
    best: Pick,
    windows: Mapping[str, Tensor],
    calibration: Tensor,
    display: Display,
) -> list[dict[str, Any]]:
    """Measure the test splits, which no choice has seen.

    Args:
        worker: holds the model.
        methods: known methods beside the best metric; each competes in its own scope.
        best: the metric that validation chose.
        windows: corpus name → test windows, [N, L].
        calibration: ids for methods that are more than a metric.
        display: shows the progress.

    Returns:
        One row per method, dense first and the best of the search last.
    """
    display.say("measuring the test split")
    rows: list[dict[str, Any]] = []
    entries = ["dense", *methods, "best of this search"]
    with display.steps("testing") as step:
        for index, name in enumerate(entries):
            if name == "dense":
                row = _row(name, None, None, None)
                values = {c: worker.perplexity(None, ids) for c, ids in windows.items()}
            elif name == "best of this search":
                scope = best.scope or getattr(worker.pattern, "scope", None)
                row = _row(name, best.metric, str(worker.pattern), scope)
                values = _of_metric(worker, best.metric, windows, best.scope)
            else:
                row, values = _of_method(worker, name, windows, calibration)
            row["test_perplexity"] = {corpus: _finite(value) for corpus, value in values.items()}
            rows.append(row)
            step(index + 1, len(entries))
    return rows


def _of_metric(
    worker: FitnessWorker, metric: Metric, windows: Mapping[str, Tensor], scope: str | None
) -> dict[str, float]:
    return {corpus: worker.perplexity(metric, ids, scope) for corpus, ids in windows.items()}


def _of_method(
    worker: FitnessWorker, name: str, windows: Mapping[str, Tensor], calibration: Tensor
) -> tuple[dict[str, Any], dict[str, float]]:
    """A known method as its own authors use it, on the statistics of this run."""
    method = resolve_method(name)
    pattern = resolve_pattern(method, str(worker.pattern), None)
    scope = None if method.metric is None else getattr(pattern, "scope", None)
    metric = method.metric if isinstance(method.metric, Metric) else None
    if metric is not None:
        values = _of_metric(worker, metric, windows, scope)
    else:
        try:
            prune(worker.model, name, str(pattern), calibration=calibration)
            values = {
                corpus: perplexity(worker.model, ids, window=ids.shape[1], head=worker.head)
                for corpus, ids in windows.items()
            }
        finally:
            worker.dense.restore()
    return _row(name, metric, str(pattern), scope), values


def _row(
    name: str, metric: Metric | None, sparsity: str | None, scope: str | None
) -> dict[str, Any]:
    return {
        "method": name,
        "metric": None if metric is None else str(metric),
        "sparsity": sparsity or "0",
        "scope": scope,
    }


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
