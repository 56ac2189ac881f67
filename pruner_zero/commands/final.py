"""After the search: validation picks from the hall of fame, and the test text is read once."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from pruner_zero.commands.display import Display, StepCallback
from pruner_zero.commands.places import Place
from pruner_zero.metric import Metric
from pruner_zero.model.masks import InvalidScores
from pruner_zero.model.methods import Method, resolve_method, resolve_pattern
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.prune import Update, prune
from pruner_zero.model.scoring import Scoring
from pruner_zero.model.sparsegpt import NotInvertible
from pruner_zero.model.sparsity import SparsityPattern, Unstructured, with_scope
from pruner_zero.search.individual import Ranked

BEST = "best of this search"


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
    places: Sequence[Place], ranking: Sequence[Ranked], display: Display, update: str, mode: str
) -> list[Pick]:
    """Measure the best of the hall of fame on the validation split.

    Args:
        places: where metrics are judged; the geometric mean of their perplexities counts.
        ranking: the metrics, best first on the search windows.
        display: shows the progress.
        update: of the search, see ``fitness.update``.
        mode: how metrics prune, ``one_shot`` or ``sequential``.

    Returns:
        The metrics, best first on the validation split.
    """
    display.say(f"choosing among the best {len(ranking)} on the validation split")
    picks = []
    with display.steps("validating") as step:
        for index, (metric, scope, value) in enumerate(ranking):

            def progress(*_: object, done: int = index) -> None:
                step(done, len(ranking))

            values: list[float] = []
            for place in places:
                texts = {"validation": place.validation}
                pruned = _pruned_by(place, metric, scope)
                values += _measure(place, pruned, update, mode, texts, progress).values()
            picks.append(Pick(metric, scope, value, statistics.geometric_mean(values)))
            step(index + 1, len(ranking))
    return sorted(picks, key=lambda pick: (pick.validation, pick.search))


def measure_tests(
    places: Sequence[Place],
    methods: Sequence[str],
    best: Pick,
    display: Display,
    update: str,
    mode: str,
) -> list[dict[str, Any]]:
    """Measure the test splits, which no choice has seen.

    Args:
        places: where metrics are judged.
        methods: known methods beside the best metric; each competes in its own scope.
        best: the metric that validation chose.
        display: shows the progress.
        update: of the search, see ``fitness.update``.
        mode: how metrics prune; SparseGPT always goes block by block.

    Returns:
        One row per place and method: dense first, the best of the search last. Where the search
        updates weights, its best is updated, and so is each known metric in a second row.
    """
    display.say("measuring the test split")
    rows: list[dict[str, Any]] = []
    entries = [
        (place, name, kind)
        for place in places
        for name, kind in [("dense", "none"), *_with_updates(methods, update)]
    ]
    with display.steps("testing") as step:
        for index, (place, name, kind) in enumerate(entries):
            worker = place.worker

            def progress(*_: object, done: int = index) -> None:
                step(done, len(entries))

            if name == "sparsegpt":
                display.say("pruning by sparsegpt, block by block; this is the slow one")
            if name == "dense":
                row = _row(place, name, None, None)
                values = {c: worker.perplexity(None, ids) for c, ids in place.tests.items()}
            else:
                method, pattern = _method(place, name, best)
                scope = None if method.metric is None else own_scope(pattern)
                shown = name if kind == "none" else f"{name}+{kind}"
                row = _row(place, shown, method.metric, scope)
                values = _measure(place, (method, pattern), kind, mode, place.tests, progress)
            row["test_perplexity"] = {corpus: _finite(value) for corpus, value in values.items()}
            rows.append(row)
            step(index + 1, len(entries))
    return rows


def _with_updates(methods: Sequence[str], update: str) -> list[tuple[str, str]]:
    """The methods with their updates, in the table's order."""
    plain = [(name, "none") for name in methods]
    if update == "none":
        return [*plain, (BEST, update)]
    metrics = [name for name in methods if resolve_method(name).metric is not None]
    return [*plain, *((name, update) for name in metrics), (BEST, update)]


def _method(place: Place, name: str, best: Pick) -> tuple[Method, SparsityPattern]:
    """The best of the search in its scope, or a known method as its own authors use it."""
    if name == BEST:
        return _pruned_by(place, best.metric, best.scope)
    method = resolve_method(name)
    return method, resolve_pattern(method, str(place.worker.pattern), None)


def _pruned_by(place: Place, metric: Metric, scope: str | None) -> tuple[Method, SparsityPattern]:
    worker = place.worker
    return Method(str(metric), metric), with_scope(worker.pattern, worker.scope_for(scope))


def _measure(
    place: Place,
    pruned_by: tuple[Method, SparsityPattern],
    update: str,
    mode: str,
    texts: Mapping[str, Tensor],
    progress: StepCallback,
) -> dict[str, float]:
    """Perplexity of the pruned model on each text, infinite where a metric cannot prune it."""
    worker, (method, pattern) = place.worker, pruned_by
    if mode == "one_shot" and isinstance(method.metric, Metric):
        metric, scope, updated = method.metric, own_scope(pattern), update != "none"
        return {name: worker.perplexity(metric, ids, scope, updated) for name, ids in texts.items()}

    def measured() -> dict[str, float]:
        with worker.dense.lent():
            try:
                prune(
                    worker.model,
                    method,
                    pattern,
                    calibration=place.calibration,
                    statistics=worker.statistics,
                    update=cast(Update, update),
                    progress=progress,
                )
            except (InvalidScores, NotInvertible):
                return dict.fromkeys(texts, float("inf"))
            return {
                name: perplexity(worker.model, ids, window=ids.shape[1], head=worker.head)
                for name, ids in texts.items()
            }

    found: dict[str, float] = worker.with_room(measured)
    return found


def own_scope(pattern: SparsityPattern) -> str | None:
    """The scope of a pattern; None for N:M, which has groups instead."""
    return pattern.scope if isinstance(pattern, Unstructured) else None


def _row(place: Place, name: str, metric: Scoring | None, scope: str | None) -> dict[str, Any]:
    return {
        "model": place.model,
        "method": name,
        "metric": None if metric is None else str(metric),
        "sparsity": "0" if name == "dense" else str(place.worker.pattern),
        "scope": scope,
    }


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
