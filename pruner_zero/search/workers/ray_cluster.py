"""Workers as actors of a Ray cluster, one of this machine's own or one that exists."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import ray
import torch
from ray import exceptions

from pruner_zero.errors import OutOfDeviceMemory, UserError
from pruner_zero.metric import Metric
from pruner_zero.search.racing import Rival
from pruner_zero.search.workers.cluster import Ticket, WorkerLost
from pruner_zero.search.workers.config import (
    Shares,
    WorkersConfig,
    check_reachable,
    divide,
    unreachable,
)
from pruner_zero.search.workers.kit import Kit
from pruner_zero.search.workers.remote import RemoteWorker, Told

_SPARE = 256 << 20  # bytes of object store beside the kit, for candidates and results
_COLOUR = re.compile(r"\x1b\[\d*m")
_NO_START = (OSError, RuntimeError, ValueError, exceptions.RayError)
_LOST = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
)


@contextlib.contextmanager
def ray_cluster(config: WorkersConfig, kit: Kit, device: torch.device) -> Iterator[RayCluster]:
    """Connect to a Ray cluster, or start one, for the time of a ``with`` block.

    Args:
        config: what was asked for.
        kit: put into the object store once; machines fetch it when a worker of theirs starts.
        device: of the run.

    Raises:
        UserError: the cluster cannot be reached, or is too small.
    """
    _connect(config, kit.size + _SPARE)
    try:
        machines = [
            (int(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))
            for node in ray.nodes()
            if node["Alive"]
        ]
        cluster = RayCluster(divide(config, machines, device.type == "cuda"), kit, device.type)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        ray.shutdown()


class RayCluster:
    """Starts actors and carries candidates to them; made by `ray_cluster`.

    Args:
        shares: number and size of the workers.
        kit: what they are made of.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, shares: Shares, kit: Kit, device: str) -> None:
        """Put the kit into the object store."""
        self.shares = shares
        self.device = device
        self._kit = ray.put(kit)
        self._actors: set[Any] = set()
        # Ray's own restarts would leave out what a new worker has to hear.
        self._kind = ray.remote(RemoteWorker).options(
            num_cpus=shares.cpus, num_gpus=shares.gpus, max_restarts=0, max_task_retries=0
        )

    def start(self) -> tuple[Any, Ticket]:
        """Start an actor."""
        actor = self._kind.remote(self._kit, self.device, self.shares.cpus)
        self._actors.add(actor)
        return actor, actor.facts.remote()

    def compute(
        self,
        worker: Any,
        metric: Metric,
        scope: str | None,
        rival: Rival | None,
        told: Sequence[Told],
    ) -> Ticket:
        """Give a candidate to an actor."""
        ticket: Ticket = worker.compute.remote(metric, scope, rival, list(told))
        return ticket

    def wait(self, tickets: Collection[Ticket], seconds: float | None) -> list[Ticket]:
        """Return ended work, waiting for the first."""
        ended, _ = ray.wait(list(tickets), num_returns=1, timeout=seconds, fetch_local=False)
        return list(ended)

    def collect(self, ticket: Ticket) -> Any:
        """Return what ended work gave."""
        try:
            return ray.get(ticket)
        except _LOST as lost:
            raise WorkerLost(_reason(lost)) from lost
        except exceptions.RayTaskError as failed:
            cause = failed.cause
            if isinstance(cause, torch.AcceleratorError):
                # After such an error nothing works in its process any more.
                raise WorkerLost(_first_line(cause)) from failed
            if isinstance(cause, (OutOfDeviceMemory, torch.OutOfMemoryError)):
                raise OutOfDeviceMemory(
                    "a worker's device is out of memory: the same command with resume=auto goes "
                    "on with fewer workers on each GPU (a larger workers.gpus), or with "
                    "workers=local memory=blockwise"
                ) from failed
            if isinstance(cause, UserError):
                raise cause from None
            raise
        except exceptions.RaySystemError as error:
            raise UserError(
                f"the Ray cluster is gone ({_first_line(error)}): the same command with "
                "resume=auto goes on with this search"
            ) from error

    def stop(self, worker: Any) -> None:
        """Kill an actor."""
        self._actors.discard(worker)
        ray.kill(worker)

    def close(self) -> None:
        """Kill all actors."""
        for actor in list(self._actors):
            self.stop(actor)


def _connect(config: WorkersConfig, store: int) -> None:
    """Connect to a cluster, or start one on this machine with so much object store."""
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(
                address="local", include_dashboard=False, object_store_memory=store, **settings
            )
        except _NO_START as error:
            raise UserError(
                f"Ray cannot start on this machine ({_first_line(error)}): take workers=local, or "
                "a cluster that runs with workers.address="
            ) from error
        return
    check_reachable(config.address)
    try:
        ray.init(address=config.address, **settings)
    except _NO_START as error:
        raise unreachable(config.address, _first_line(error)) from error


def _reason(error: Exception) -> str:
    """Why an actor died, as one sentence: Ray's messages have many lines, with colours."""
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # An error of its own, which kept it from starting, is the last line of the traceback.
    return lines[-1] if "creation task" in lines[0] else lines[0].partition(". ")[0].rstrip(".")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
