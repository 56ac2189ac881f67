"""The loop around an algorithm: budget, evaluation, recording."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pruner_zero.search.algorithms import SearchAlgorithm
from pruner_zero.search.individual import Candidate, FitnessResult
from pruner_zero.search.run_folder import RunFolder


@dataclass
class Progress:
    """How far a search is.

    Attributes:
        candidates: made so far.
        evaluations: forward evaluations so far; known masks and failures cost none.
        seconds: spent in this process.
        stopped: why the search ended, empty while it goes on.
    """

    candidates: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    stopped: str = ""


Observer = Callable[[SearchAlgorithm, Candidate, FitnessResult, Progress], None]


def run_search(
    algorithm: SearchAlgorithm,
    evaluate: Callable[[Candidate], FitnessResult],
    folder: RunFolder | None = None,
    observer: Observer | None = None,
    evaluations: int = 0,
) -> Progress:
    """Ask, evaluate, tell, record, until the budget is spent.

    Args:
        algorithm: a new or a restored one.
        evaluate: gives a candidate's fitness; never raises for a bad metric.
        folder: where every evaluation is logged and checkpointed.
        observer: called after each.
        evaluations: forward evaluations that a resumed run has behind it.

    Returns:
        The progress, with the reason for stopping. Ctrl-C stops between two candidates or drops
        the one in evaluation; the folder then resumes from the last complete one.
    """
    config = algorithm.config
    start = time.monotonic()
    progress = Progress(algorithm.asked, evaluations)

    def stop() -> str:
        if progress.candidates >= config.candidates:
            return "all generations done"
        if config.evaluations is not None and progress.evaluations >= config.evaluations:
            return "evaluation budget spent"
        if config.minutes is not None and progress.seconds >= config.minutes * 60:
            return "time budget spent"
        return ""

    try:
        while not (reason := stop()):
            candidate = algorithm.ask()
            result = evaluate(candidate)
            algorithm.tell(candidate, result)
            progress.candidates = algorithm.asked
            progress.evaluations += result.tokens > 0
            progress.seconds = time.monotonic() - start
            if folder:
                folder.append(candidate.record(result), algorithm.state())
                folder.write_ranking(algorithm.ranking())
            if observer:
                observer(algorithm, candidate, result, progress)
        progress.stopped = reason
    except KeyboardInterrupt:
        progress.stopped = "interrupted"
    return progress
