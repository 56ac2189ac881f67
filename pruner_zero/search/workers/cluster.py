"""What a pool of workers needs of the engine that runs them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any, Protocol

from pruner_zero.metric import Metric
from pruner_zero.search.racing import Rival
from pruner_zero.search.workers.remote import Told

Worker = Any
Ticket = Hashable
"""What an engine gives for work that is under way."""


class WorkerLost(Exception):
    """A worker that is no more: its process was killed, its machine or its GPU failed."""


class Cluster(Protocol):
    """Starts workers and carries work to them; `RayCluster` is one."""

    def start(self) -> tuple[Worker, Ticket]:
        """Start a worker; the ticket gives `RemoteWorker.facts` once it is ready."""

    def compute(
        self,
        worker: Worker,
        metric: Metric,
        scope: str | None,
        rival: Rival | None,
        told: Sequence[Told],
    ) -> Ticket:
        """Give a candidate to a worker; the ticket gives the `Outcome`."""

    def wait(self, tickets: Collection[Ticket], seconds: float | None) -> list[Ticket]:
        """Return tickets whose work has ended, waiting for the first one (None: for ever)."""

    def collect(self, ticket: Ticket) -> Any:
        """Return what ended work gave.

        Raises:
            WorkerLost: the worker did not live to give it.
            UserError: a mistake that the user can mend.
        """

    def stop(self, worker: Worker) -> None:
        """End a worker's process if it is still there."""

    def close(self) -> None:
        """End everything that was started."""
