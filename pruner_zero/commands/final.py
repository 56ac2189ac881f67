"""After the search: validation picks from the hall of fame, and the test text is read once."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pruner_zero.commands.display import Display, StepCallback
from pruner_zero.commands.places import Place
from pruner_zero.metric import Metric
from pruner_zero.model.methods import resolve_method, resolve_pattern
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.prune import prune
from pruner_zero.model.sparsity import SparsityPattern, Unstructured
from pruner_zero.search.individual import Ranked

BEST = "best of this search"
OBS = "+obs"


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


def validate(places: Sequence[Place], ranking: Sequence[Ranked], display: Display) -> list[Pick]:
    """Measure the best of the hall of fame on the validation split.

    Args:
        places: where metrics are judged; the geometric mean of their perplexities counts.
        ranking: the metrics, best first on the search windows.
        display: shows the progress.

    Returns:
        The metrics, best first on the validation split.
    """
    display.say(f"choosing among the best {len(ranking)} on the validation split")
    picks = []
    with display.steps("validating") as step:
        for index, (metric, scope, value) in enumerate(ranking):
            values = [
                place.worker.perplexity(metric, place.validation, place.worker.scope_for(scope))
                for place in places
            ]
            picks.append(Pick(metric, scope, value, statistics.geometric_mean(values)))
            step(index + 1, len(ranking))
    return sorted(picks, key=lambda pick: (pick.validation, pick.search))


def measure_tests(
    places: Sequence[Place], methods: Sequence[str], best: Pick, display: Display
) -> list[dict[str, Any]]:
    """Measure the test splits, which no choice has seen.

    Args:
        places: where metrics are judged.
        methods: known methods beside the best metric; each competes in its own scope.
        best: the metric that validation chose.
        display: shows the progress.

    Returns:
        One row per place and method: dense first, the best of the search last. Where the search
        updates weights, its best is updated, and so is each known metric in a second row.
    """
    display.say("measuring the test split")
    rows: list[dict[str, Any]] = []
    entries = [
        (place, name) for place in places for name in ("dense", *_with_updates(place, methods))
    ]
    with display.steps("testing") as step:
        for index, (place, name) in enumerate(entries):
            worker = place.worker
            if name == "dense":
                row = _row(place, name, None, None)
                values = {c: worker.perplexity(None, ids) for c, ids in place.tests.items()}
            elif name.removesuffix(OBS) == BEST:
                scope = worker.scope_for(best.scope)
                row = _row(place, name, best.metric, scope or own_scope(worker.pattern))
                values = _of_metric(place, best.metric, scope)
            else:
                if name == "sparsegpt":
                    display.say(f"pruning by {name}, block by block; this is the slow one")
                row, values = _of_method(
                    place, name, lambda *_, done=index: step(done, len(entries))
                )
            row["test_perplexity"] = {corpus: _finite(value) for corpus, value in values.items()}
            rows.append(row)
            step(index + 1, len(entries))
    return rows


def _with_updates(place: Place, methods: Sequence[str]) -> list[str]:
    if place.worker.update is None:
        return [*methods, BEST]
    updated = [f"{name}{OBS}" for name in methods if resolve_method(name).metric is not None]
    return [*methods, *updated, f"{BEST}{OBS}"]


def _of_metric(
    place: Place, metric: Metric, scope: str | None, update: bool = True
) -> dict[str, float]:
    worker = place.worker
    return {c: worker.perplexity(metric, ids, scope, update) for c, ids in place.tests.items()}


def _of_method(
    place: Place, name: str, progress: StepCallback
) -> tuple[dict[str, Any], dict[str, float]]:
    """A known method as its own authors use it, on the statistics of this run."""
    worker = place.worker
    method = resolve_method(name.removesuffix(OBS))
    pattern = resolve_pattern(method, str(worker.pattern), None)
    if isinstance(method.metric, Metric):
        scope = own_scope(pattern)
        values = _of_metric(place, method.metric, scope, name.endswith(OBS))
        return _row(place, name, method.metric, scope), values

    def pruned() -> dict[str, float]:
        with worker.dense.lent():
            prune(
                worker.model,
                method,
                str(pattern),
                calibration=place.calibration,
                progress=progress,
            )
            return {
                corpus: perplexity(worker.model, ids, window=ids.shape[1], head=worker.head)
                for corpus, ids in place.tests.items()
            }

    return _row(place, name, None, None), worker.with_room(pruned)


def own_scope(pattern: SparsityPattern) -> str | None:
    """The scope of a pattern; None for N:M, which has groups instead."""
    return pattern.scope if isinstance(pattern, Unstructured) else None


def _row(place: Place, name: str, metric: Metric | None, scope: str | None) -> dict[str, Any]:
    return {
        "model": place.model,
        "method": name,
        "metric": None if metric is None else str(metric),
        "sparsity": "0" if name == "dense" else str(place.worker.pattern),
        "scope": scope,
    }


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
