"""Which processes evaluate candidates; Hydra fills it, Python callers construct it."""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pruner_zero.errors import UserError, suggest

KINDS = ("local", "ray")


@dataclass
class WorkersConfig:
    """Workers of a search.

    Attributes:
        kind: ``local`` (this process) or ``ray`` (actors of a Ray cluster).
        in_flight: candidates asked for and not told yet, on which the course of the search
            depends; null is 1 for one worker (the serial search) and 2 per worker for several.
        count: workers; null is one per GPU, on CPUs one per machine of the cluster.
        cpus: CPUs of each worker, its threads; null shares those of the cluster equally.
        gpus: GPUs of each worker, such as 0.5 for two workers on each; null is 1 on CUDA.
        address: of a Ray cluster: ``auto``, HOST:PORT or ray://HOST:PORT; null starts Ray on this
            machine for the time of the search.
    """

    kind: str = "local"
    in_flight: int | None = None
    count: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    address: str | None = None

    def check(self) -> None:
        """Raise a UserError for impossible values, before anything is loaded."""
        if self.kind not in KINDS:
            raise UserError(f"unknown workers.kind '{self.kind}': {suggest(self.kind, KINDS)}")
        for name in ("in_flight", "count", "cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"workers.{name} must be at least 1")
        if self.gpus is not None and not (0 < self.gpus <= 1 or self.gpus == 0):
            raise UserError("workers.gpus must be from 0 to 1: a worker uses one GPU or a share")
        if self.kind == "local":
            for name in ("count", "cpus", "gpus", "address"):
                if getattr(self, name) is not None:
                    raise UserError(f"workers.{name} is for workers=ray")

    def depth(self, count: int = 1) -> int:
        """Candidates in flight with so many workers."""
        return self.in_flight or (1 if count == 1 else 2 * count)


@dataclass(frozen=True)
class Shares:
    """How a cluster is divided.

    Attributes:
        count: workers.
        cpus: of each.
        gpus: of each.
    """

    count: int
    cpus: int
    gpus: float


def divide(config: WorkersConfig, machines: list[tuple[int, float]], cuda: bool) -> Shares:
    """Divide a cluster among the workers.

    Args:
        config: what was asked for.
        machines: (CPUs, GPUs) of each machine of the cluster.
        cuda: whether the run is on CUDA.

    Raises:
        UserError: more workers than fit on the machines, or GPUs for a run on CPUs.
    """
    gpus = config.gpus if config.gpus is not None else float(cuda)
    if cuda != (gpus > 0):
        raise UserError(
            f"workers.gpus={gpus:g} does not fit a run on {'cuda' if cuda else 'the CPU'}: "
            "drop it or set device"
        )
    per_gpu = int(1 / gpus + 1e-9) if gpus else 0
    slots = [int(own) * per_gpu for _, own in machines] if gpus else []
    count = config.count or (sum(slots) if gpus else len(machines)) or 1
    if gpus and count > sum(slots):
        total = sum(own for _, own in machines)
        raise UserError(
            f"workers.count={count} is more than fit on the cluster's {total:g} GPUs with "
            f"{per_gpu} on each: lower workers.count or workers.gpus"
        )
    cpus = config.cpus or _share(machines, slots, count)
    places = [
        min(own // cpus, slot) if gpus else own // cpus
        for (own, _), slot in zip(machines, slots or [0] * len(machines), strict=True)
    ]
    if count > sum(places):
        total = sum(own for own, _ in machines)
        raise UserError(
            f"workers.count={count} with {cpus} CPUs each is more than the cluster's {total} CPUs "
            "hold: lower workers.count or workers.cpus"
        )
    return Shares(count, cpus, gpus)


def _share(machines: list[tuple[int, float]], slots: list[int], count: int) -> int:
    """The most CPUs per worker with which all workers find a place, at least 1."""
    most = max((own for own, _ in machines), default=1)
    for cpus in range(most, 1, -1):
        places = [own // cpus for own, _ in machines]
        if slots:
            places = [min(pair) for pair in zip(places, slots, strict=True)]
        if sum(places) >= count:
            return cpus
    return 1


def check_reachable(address: str) -> None:
    """Knock at the address of a cluster, because Ray itself would try for minutes.

    Raises:
        UserError: it is no address, or nobody answers.
    """
    found = _announced() if address == "auto" else address
    if not found:
        return
    host, _, port = found.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        raise UserError(f"workers.address={found} is none: auto, HOST:PORT, ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, UnicodeError, OverflowError) as error:  # no such name or port is possible
        raise unreachable(address, f"{found}: {error}") from error


def _announced() -> str:
    """Where ``auto`` looks for a cluster: what ``ray start`` left on this machine may be stale."""
    if named := os.environ.get("RAY_ADDRESS"):
        return named
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    file = Path(folder) / "ray" / "ray_current_cluster"
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""


def unreachable(address: str, reason: str) -> UserError:
    """The one line for a cluster that does not answer."""
    return UserError(
        f"no Ray cluster at workers.address={address} ({reason}): start one with ray start --head, "
        "or drop workers.address"
    )
