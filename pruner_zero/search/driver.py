"""The loop around an algorithm: budget, evaluation, recording."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pruner_zero.metric import Metric
from pruner_zero.search.algorithms import SearchAlgorithm
from pruner_zero.search.flight import Flight, Flying
from pruner_zero.search.individual import Candidate, FitnessResult, Ranked
from pruner_zero.search.racing import Rival
from pruner_zero.search.run_folder import RunFolder


class Evaluator(Protocol):
    """What a search needs of a fitness; ``FitnessWorker`` is one.

    An evaluator that has workers also has ``announce(metric, scope, rival)``, see `Announcing`.
    """

    @property
    def full_tokens(self) -> int:
        """Predicted tokens of an evaluation that is not stopped early."""

    def evaluate(
        self, metric: Metric, scope: str | None = None, rival: Rival | None = None
    ) -> FitnessResult:
        """Give a metric's fitness; never raises for a bad metric."""

    def looks_known(self, metric: Metric, scope: str | None) -> bool:
        """Whether a metric looks like one that was evaluated."""

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take back what an earlier process of this run evaluated, from its log."""


@runtime_checkable
class Announcing(Protocol):
    """An evaluator that can begin before a candidate's turn comes."""

    def announce(self, metric: Metric, scope: str | None, rival: Rival | None) -> None:
        """Tell of an evaluation to come; they are asked for in the order they are told of."""


@dataclass
class Progress:
    """How far a search is.

    Attributes:
        full_tokens: predicted tokens of one evaluation that is not stopped early.
        candidates: made so far.
        evaluations: candidates that needed the model, or would have without an earlier run.
        cost: predicted tokens of these.
        computed: predicted tokens that were computed; less than ``cost`` where the ledger helped.
        known_by: how many candidates were known, by what.
        stopped_early: how many lost their race.
        failed: how many gave no usable masks or loss.
        refused: offspring dropped because the same metric was in the population or in flight.
        waiting: offspring put last because the probe showed a look-alike, whose turn did not come.
        alike: candidates that looked on the probe like an earlier one, which their masks confirm
            (known by digest) or not.
        seconds: spent in this process.
        stopped: why the search ended, empty while it goes on.
    """

    full_tokens: int
    candidates: int = 0
    evaluations: int = 0
    cost: int = 0
    computed: int = 0
    known_by: dict[str, int] = field(default_factory=dict)
    stopped_early: int = 0
    failed: int = 0
    refused: int = 0
    waiting: int = 0
    alike: int = 0
    seconds: float = 0.0
    stopped: str = ""
    _looks: set[str] = field(default_factory=set, repr=False)

    @property
    def equivalents(self) -> float:
        """The cost as a number of full evaluations."""
        return self.cost / self.full_tokens

    def add(self, result: FitnessResult) -> None:
        """Count one result."""
        self.candidates += 1
        self.evaluations += result.cost > 0
        self.cost += result.cost
        self.computed += result.tokens
        self.failed += result.reason is not None
        if result.fingerprint:
            self.alike += result.fingerprint in self._looks
            self._looks.add(result.fingerprint)
        if result.known_by:
            self.known_by[result.known_by] = self.known_by.get(result.known_by, 0) + 1
        if result.known_by in (None, "ledger"):
            self.stopped_early += not result.complete

    def count_offspring(self, algorithm: SearchAlgorithm) -> None:
        """Take over what the algorithm counts itself."""
        self.refused = algorithm.refused
        self.waiting = len(algorithm.waiting)

    @classmethod
    def of(cls, full_tokens: int, records: Iterable[Mapping[str, Any]]) -> Progress:
        """The progress that a log of evaluations shows."""
        progress = cls(full_tokens)
        for record in records:
            progress.add(FitnessResult.from_record(record))
        return progress


Observer = Callable[[SearchAlgorithm, Candidate, FitnessResult, Progress], None]


def observed_by(*observers: Observer) -> Observer:
    """Return one observer that tells several, in their order."""

    def tell(
        algorithm: SearchAlgorithm, candidate: Candidate, result: FitnessResult, progress: Progress
    ) -> None:
        for observer in observers:
            observer(algorithm, candidate, result, progress)

    return tell


def run_search(
    algorithm: SearchAlgorithm,
    evaluator: Evaluator,
    folder: RunFolder | None = None,
    observer: Observer | None = None,
    progress: Progress | None = None,
    place: int | None = None,
    put_last: bool = True,
    flight: Flight | None = None,
) -> Progress:
    """Ask, evaluate, tell, record, until the budget is spent.

    Args:
        algorithm: a new or a restored one.
        evaluator: gives fitness.
        folder: where every evaluation is logged and checkpointed.
        observer: called after each.
        progress: of the run that is resumed.
        place: rank in the hall of fame that candidates compete for, by default its last.
        put_last: put offspring last that look on the probe like an evaluated one.
        flight: how many candidates are in flight, and those of the run that is resumed; by
            default one.

    Returns:
        The progress, with the reason for stopping. Ctrl-C stops between two candidates or drops
        those in evaluation; the folder then resumes from the last complete one. Candidates in
        flight when the budget is spent are dropped too, so that the budget is kept exactly.
    """
    config = algorithm.config
    start = time.monotonic()
    progress = progress or Progress(evaluator.full_tokens, algorithm.told)
    progress.stopped = ""
    progress.count_offspring(algorithm)
    place = place or config.hall_of_fame
    flight = Flight() if flight is None else flight

    looks_known = evaluator.looks_known if put_last else None

    def launch(flying: Flying) -> None:
        if isinstance(evaluator, Announcing):
            scope = flying.candidate.individual.scope
            evaluator.announce(flying.candidate.metric, scope, flying.rival)

    def fill() -> None:
        while not flight.full and algorithm.asked < config.candidates and algorithm.may_ask():
            candidate = algorithm.ask(flight.holds, looks_known)
            flying = Flying(candidate, _rival(algorithm, place, candidate))
            flight.add(flying)
            launch(flying)

    def stop() -> str:
        if progress.candidates >= config.candidates:
            return "all generations done"
        if config.evaluations is not None and progress.equivalents >= config.evaluations:
            return "evaluation budget spent"
        if config.minutes is not None and progress.seconds >= config.minutes * 60:
            return "time budget spent"
        if algorithm.stagnant:
            return f"no better metric in {config.stagnation} candidates"
        return ""

    written: Sequence[Ranked] | None = None
    try:
        for flying in flight:
            launch(flying)
        while not (reason := stop()):
            fill()
            candidate, rival = flight.head().candidate, flight.head().rival
            result = evaluator.evaluate(candidate.metric, candidate.individual.scope, rival)
            algorithm.tell(candidate, result)
            flight.land()
            progress.add(result)
            progress.count_offspring(algorithm)
            progress.seconds = time.monotonic() - start
            if folder:
                folder.append(
                    candidate.record(result), {**algorithm.state(), "flight": flight.state()}
                )
                if (ranking := algorithm.ranking()) != written:  # few candidates change it
                    folder.write_ranking(ranking)
                    written = ranking
            if observer:
                observer(algorithm, candidate, result, progress)
        progress.stopped = reason
        if folder:
            # A kill after the last candidate may have come before its ranking was written.
            folder.write_ranking(algorithm.ranking())
    except KeyboardInterrupt:
        progress.stopped = "interrupted"
    return progress


def _rival(algorithm: SearchAlgorithm, place: int, candidate: Candidate) -> Rival | None:
    """The holder of a place; the best so far while the place is free.

    A tuned candidate races against its parent where that is better: other numbers for a formula are
    of use only when they are better numbers.
    """
    tuned = candidate.parents if candidate.baseline else ()
    for rank in range(1, place + 1):
        parent = algorithm.place(rank)
        if parent and parent.number in tuned:
            return Rival(parent.losses)
    for rank in (place, 1):
        if holder := algorithm.place(rank):
            return Rival(holder.losses, holds_place=rank == place)
    return None
