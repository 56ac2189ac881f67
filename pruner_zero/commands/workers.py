"""Who evaluates the candidates of a search: this process, or workers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor

from pruner_zero.commands.display import Display
from pruner_zero.commands.places import Place, evaluator
from pruner_zero.errors import UserError
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.loading import resolve_device
from pruner_zero.search.driver import Evaluator
from pruner_zero.search.worker import FitnessWorker
from pruner_zero.search.workers.config import WorkersConfig, check_reachable, divide

_NO_HOST = (
    "workers=ray keeps a whole model on each worker's device: "
    "a model that runs block by block needs workers=local"
)
_PATIENCE = 600.0  # seconds for the first worker: on a cluster its machine may load a model first


def check_workers(config: WorkersConfig, device: str, memory: str = "auto") -> None:
    """Find what is wrong with the workers before anything is loaded.

    Args:
        config: what was asked for.
        device: of the run, as in the configuration.
        memory: likewise.

    Raises:
        UserError: impossible values, blockwise memory, Ray is not installed, no cluster at the
            address, more workers than this machine holds.
    """
    config.check()
    if config.kind == "local":
        return
    if memory == "blockwise":
        raise UserError(_NO_HOST)
    if find_spec("ray") is None:
        raise UserError("workers=ray needs Ray: pip install 'pruner-zero[ray]'")
    if config.address is not None:
        check_reachable(config.address)
        return
    where = resolve_device(None if device == "auto" else device)
    machine = (os.cpu_count() or 1, float(torch.cuda.device_count()))
    divide(config, [machine], where.type == "cuda")


@contextmanager
def at_work(
    config: WorkersConfig,
    places: Sequence[Place],
    device: torch.device,
    display: Display,
    operators: Sequence[str] = (),
) -> Iterator[tuple[Evaluator, int]]:
    """Give the evaluator of a search, and how many candidates are in flight, for a ``with`` block.

    Args:
        config: what was asked for.
        places: where metrics are judged; with workers elsewhere these models rest meanwhile.
        device: of the run.
        display: takes a line when workers start and when one is lost.
        operators: texts of the user's operator files.

    Raises:
        UserError: see `ray_cluster`.
    """
    books = evaluator(places)
    if config.kind == "local":
        yield books, config.depth()
        return
    # Only here, so that a search in this process imports no Ray.
    from pruner_zero.search.workers.kit import Kit
    from pruner_zero.search.workers.pool import WorkerPool
    from pruner_zero.search.workers.ray_cluster import ray_cluster

    parts = [place.worker for place in places]
    if any(hosted_blocks(part.model) for part in parts):
        raise UserError(_NO_HOST)
    where = "on this machine" if config.address is None else f"at {config.address}"
    display.say(f"starting Ray workers {where}")
    with _resting(parts, device):
        kit = Kit.of(parts, operators)
        with ray_cluster(config, kit, device) as cluster:
            shares = cluster.shares
            depth = config.depth(shares.count)
            gpus = f", {shares.gpus:g} GPUs" if shares.gpus else ""
            display.say(
                f"workers: {shares.count}, each with {shares.cpus} CPUs{gpus}; in flight: {depth} "
                f"candidates; model and statistics: {kit.size / 1e6:.1f} MB on each machine"
            )
            pool = WorkerPool(books, parts, cluster, shares.count, display.say)
            pool.await_first(_PATIENCE)
            yield pool, depth


@contextmanager
def _resting(parts: Sequence[FitnessWorker], device: torch.device) -> Iterator[None]:
    """Keep the models of this process out of a GPU that a worker needs."""
    if device.type != "cuda":
        yield
        return
    _move(parts, torch.device("cpu"))
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        _move(parts, device)


def _move(parts: Sequence[FitnessWorker], device: torch.device) -> None:
    """Move models with their dense weights and statistics; what parts share they go on sharing."""
    before = [part.statistics for part in parts]
    moved: dict[int, Tensor] = {}

    def elsewhere(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            moved[id(tensor)] = tensor.to(device)
        return moved[id(tensor)]

    for part, statistics in zip(parts, before, strict=True):
        part.model.to(device)
        part.dense.to(device)
        part.statistics = statistics.with_values(
            {
                terminal: {name: elsewhere(value) for name, value in layers.items()}
                for terminal, layers in statistics.values.items()
            }
        )
