"""What a search tells a tracker: numbers after every candidate, table and files at its end."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pruner_zero.errors import UserError
from pruner_zero.files import write_json
from pruner_zero.search.algorithms import SearchAlgorithm
from pruner_zero.search.driver import Progress
from pruner_zero.search.individual import Candidate, FitnessResult
from pruner_zero.tracking.config import TrackerConfig
from pruner_zero.tracking.tracker import Guarded, Tracker

_NOTE = "tracker.json"
_PRIVATE = ("checkpoint.json", _NOTE)


class SearchTracking:
    """A search observer that feeds a tracker.

    Args:
        tracker: takes the numbers.
        folder: the run folder, whose files are handed over at the end.
    """

    def __init__(self, tracker: Guarded, folder: Path) -> None:
        """Nothing is sent yet."""
        self.tracker = tracker
        self.folder = folder
        self.step = 0

    def __call__(
        self,
        algorithm: SearchAlgorithm,
        candidate: Candidate,
        result: FitnessResult,
        progress: Progress,
    ) -> None:
        """Take one evaluation."""
        self.step = candidate.number
        values = search_numbers(algorithm, result, progress)
        self.tracker.numbers(candidate.number, _finite(values))

    def outcome(self, results: Mapping[str, Any]) -> None:
        """Take the results of a finished search, as ``results.json`` holds them."""
        files = [
            path
            for path in sorted(self.folder.iterdir())
            if path.is_file() and path.name[0] != "." and path.name not in _PRIVATE
        ]
        text = (self.folder / "results.md").read_text(encoding="utf-8")
        text += f"\nBest metric: `{results['best']['expression']}`\n"
        self.tracker.outcome(self.step, text, _finite(table_numbers(results["table"])), files)


def search_numbers(
    algorithm: SearchAlgorithm, result: FitnessResult, progress: Progress
) -> dict[str, float]:
    """The state of a search after a candidate, by name; perplexities are on the search windows."""
    population = [member.perplexity for member in algorithm.living()]
    return {
        "perplexity/best": algorithm.best_perplexity,
        "perplexity/median": statistics.median(population) if population else math.inf,
        "perplexity/candidate": result.perplexity,
        "best/nodes": algorithm.best.size if algorithm.best else math.inf,
        "cost/full_evaluations": progress.equivalents,
        "cost/tokens": progress.cost,
        "cost/tokens_computed": progress.computed,
        "cost/seconds": progress.seconds,
        "count/evaluations": progress.evaluations,
        "count/known": sum(progress.known_by.values()),
        "count/stopped_early": progress.stopped_early,
        "count/failed": progress.failed,
        "count/refused": progress.refused,
        "count/waiting": progress.waiting,
    }


def table_numbers(table: list[dict[str, Any]]) -> dict[str, float]:
    """The final table by name, such as ``test/wikipedia/wanda``."""
    models = {row["model"] for row in table}
    sparsities = {row["sparsity"] for row in table} - {"0"}
    found = {}
    for row in table:
        parts = [row["method"]]
        parts += [row["model"].rsplit("/", 1)[-1]] if len(models) > 1 else []
        parts += [row["sparsity"]] if len(sparsities) > 1 else []
        for corpus, value in row["test_perplexity"].items():
            found["/".join(["test", corpus, *parts])] = math.inf if value is None else value
    return found


@contextmanager
def track(
    config: TrackerConfig,
    folder: Path,
    settings: Mapping[str, Any],
    step: int,
    announce: Callable[[str], None],
) -> Iterator[SearchTracking]:
    """Open a tracker for a run, and close it whatever happens.

    Args:
        config: which one, and where.
        folder: the run folder; it notes the tracker's identity of the run, for resuming.
        settings: the resolved settings, by dotted key.
        step: candidates that the run has already.
        announce: takes one line when the tracker fails.

    Raises:
        UserError: a tracker that cannot be opened; nothing was searched yet.
    """
    note = folder / _NOTE
    known = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    tracker = _open(config, folder, known.get(config.name), step)
    if tracker and tracker.identity:
        write_json(note, {**known, config.name: tracker.identity})
    guarded = Guarded(config.name, tracker, announce)
    if config.name not in known:
        guarded.settings(settings)
    try:
        yield SearchTracking(guarded, folder)
    except BaseException:
        guarded.close(complete=False)
        raise
    guarded.close(complete=True)


def _open(config: TrackerConfig, folder: Path, identity: str | None, step: int) -> Tracker | None:
    if config.name == "none":
        return None
    try:
        if config.name == "tensorboard":
            from pruner_zero.tracking.tensorboard import TensorBoard

            return TensorBoard(config, folder, step)
        if config.name == "mlflow":
            from pruner_zero.tracking.mlflow import MLflow

            return MLflow(config, folder, identity)
        from pruner_zero.tracking.wandb import WeightsAndBiases

        return WeightsAndBiases(config, folder, identity)
    except Exception as error:
        # Whatever a library of others raises: the user wants to know now, not after the search.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"tracker={config.name} cannot start ({reason[:160]}): mend it or take tracker=none"
        ) from error


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
