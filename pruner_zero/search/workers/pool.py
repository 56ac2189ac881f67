"""Hands candidates to workers as they get free, and gives the results back in order.

The pool is an evaluator like the one in this process: what a result counts is settled here, at the
candidate's turn, so nothing of the search depends on which worker computed what, or when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.provenance import provenance
from pruner_zero.search.individual import FitnessResult
from pruner_zero.search.joint import JointWorker
from pruner_zero.search.racing import Rival
from pruner_zero.search.worker import FitnessWorker
from pruner_zero.search.workers.cluster import Cluster, Ticket, Worker, WorkerLost
from pruner_zero.search.workers.remote import Outcome, Told

ATTEMPTS = 2
"""Workers that a candidate may cost before it is recorded as failed."""
PATIENCE = 5
"""Workers that may be lost in a row: then it is not the candidates' fault."""
_SAME = ("pruner-zero", "torch", "transformers")


@dataclass(eq=False)
class _Task:
    metric: Metric
    scope: str | None
    rival: Rival | None
    attempts: int = 0
    result: FitnessResult | None = None


class WorkerPool:
    """Several workers as one evaluator.

    Args:
        books: the fitness in this process, which settles results but computes none.
        parts: its parts, whose ledgers take what the workers find.
        cluster: runs the workers.
        count: how many.
        say: takes a line when a worker is lost.
    """

    def __init__(
        self,
        books: FitnessWorker | JointWorker,
        parts: Sequence[FitnessWorker],
        cluster: Cluster,
        count: int,
        say: Callable[[str], None],
    ) -> None:
        """Start the workers; they get ready in the background."""
        self.books = books
        self.parts = tuple(parts)
        self.cluster = cluster
        self.say = say
        self._told: list[Told] = []
        self._turns: deque[_Task] = deque()
        self._waiting: deque[_Task] = deque()
        self._starting: dict[Ticket, Worker] = {}
        self._busy: dict[Ticket, tuple[Worker, _Task]] = {}
        self._free: list[Worker] = []
        self._heard: dict[Worker, int] = {}
        self._lost_in_a_row = 0
        for _ in range(count):
            self._start()

    @property
    def full_tokens(self) -> int:
        """Predicted tokens of one evaluation that is not stopped early."""
        return self.books.full_tokens

    def looks_known(self, metric: Metric, scope: str | None) -> bool:
        """Whether a metric looks like one that was evaluated."""
        return self.books.looks_known(metric, scope)

    def remember(self, record: Mapping[str, Any]) -> None:
        """Take back what an earlier process of this run evaluated, from its log."""
        self.books.remember(record)
        result = FitnessResult.from_record(record)
        self._told.append((record["simplified"], record["scope"], result))

    def await_first(self, seconds: float) -> None:
        """Wait until a worker is ready; the others join when they are.

        Args:
            seconds: after which waiting is in vain.

        Raises:
            UserError: no worker got ready, or one could not start.
        """
        if not self._free and not self._step(seconds):
            raise UserError(
                f"no worker got ready in {seconds:.0f} s: the cluster is busy (ray status)"
            )

    def announce(self, metric: Metric, scope: str | None, rival: Rival | None) -> None:
        """Take an evaluation to come; a free worker begins with it at once."""
        task = _Task(metric, scope, rival)
        self._turns.append(task)
        self._waiting.append(task)
        self._step(0)

    def evaluate(
        self, metric: Metric, scope: str | None = None, rival: Rival | None = None
    ) -> FitnessResult:
        """Return the result of the candidate whose turn it is; the oldest that was announced."""
        if not self._turns:
            self.announce(metric, scope, rival)
        task = self._turns.popleft()
        while task.result is None:
            self._step(None)
        result = self.books.settle(metric, scope, task.result)
        self._told.append((str(metric), scope, result))
        return result

    def _step(self, seconds: float | None) -> bool:
        """Hand out what waits, take what has ended, hand out again; whether anything had."""
        self._hand_out()
        ended = self.cluster.wait([*self._starting, *self._busy], seconds)
        for ticket in ended:
            if ticket in self._starting:
                self._started(ticket)
            else:
                self._ended(ticket)
        self._hand_out()
        return bool(ended)

    def _hand_out(self) -> None:
        while self._waiting and self._free:
            worker, task = self._free.pop(0), self._waiting.popleft()
            news = self._told[self._heard.get(worker, 0) :]
            self._heard[worker] = len(self._told)
            ticket = self.cluster.compute(worker, task.metric, task.scope, task.rival, news)
            self._busy[ticket] = worker, task

    def _start(self) -> None:
        worker, ticket = self.cluster.start()
        self._starting[ticket] = worker

    def _started(self, ticket: Ticket) -> None:
        worker = self._starting.pop(ticket)
        try:
            facts = self.cluster.collect(ticket)
        except WorkerLost as lost:
            raise UserError(f"a worker could not start: {lost}; {_GO_ON}") from lost
        own = provenance()
        for package in _SAME:
            if facts[package] != own[package]:
                raise UserError(
                    f"a worker has {package} {facts[package]}, this machine {own[package]}: "
                    "install the same version on every machine of the cluster"
                )
        self._free.append(worker)

    def _ended(self, ticket: Ticket) -> None:
        worker, task = self._busy.pop(ticket)
        try:
            outcome: Outcome = self.cluster.collect(ticket)
        except WorkerLost as lost:
            self._replace(worker, task, str(lost))
            return
        self._lost_in_a_row = 0
        for part, notes in zip(self.parts, outcome.news, strict=True):
            if part.ledger is not None:
                for note in notes:
                    part.ledger.record(*note.key, note.digest, note.losses, note.seconds)
        task.result = outcome.result
        self._free.append(worker)

    def _replace(self, worker: Worker, task: _Task, reason: str) -> None:
        """Start another worker for a lost one and try its candidate once more, or give it up."""
        self.cluster.stop(worker)
        self._heard.pop(worker, None)
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= PATIENCE:
            raise UserError(f"{PATIENCE} workers were lost in a row, the last: {reason}; {_GO_ON}")
        self._start()
        task.attempts += 1
        if task.attempts < ATTEMPTS:
            self.say(f"a worker was lost ({reason}): its candidate goes to another one")
            self._waiting.appendleft(task)
        else:
            self.say(f"a second worker was lost ({reason}): its candidate is given up")
            task.result = FitnessResult(float("inf"), reason=f"lost {ATTEMPTS} workers: {reason}")


_GO_ON = "the same command with resume=auto goes on with this search"
