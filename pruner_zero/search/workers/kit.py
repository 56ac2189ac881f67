"""What all workers of a search are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.sparsity import SparsityPattern
from pruner_zero.search.racing import RacingConfig
from pruner_zero.search.worker import FitnessWorker
from pruner_zero.search.workers.notebook import Notebook
from pruner_zero.search.workers.portable import PortableModel, PortableStatistics


@dataclass(frozen=True)
class Part:
    """What makes one `FitnessWorker`; ``model`` is the place of its model in the kit."""

    model: int
    ids: Tensor
    pattern: SparsityPattern
    racing: RacingConfig
    reuse: bool
    ledger: Notebook | None
    score_memory: float
    compile: bool


@dataclass(frozen=True)
class Kit:
    """What all workers of a search share.

    Attributes:
        models: with their statistics.
        parts: of the fitness.
        operators: texts of the user's operator files.
    """

    models: Sequence[tuple[PortableModel, PortableStatistics]]
    parts: Sequence[Part]
    operators: Sequence[str] = ()

    @classmethod
    def of(cls, workers: Sequence[FitnessWorker], operators: Sequence[str] = ()) -> Kit:
        """Pack what these workers of this process are made of.

        Args:
            workers: the parts of a fitness, dense now; those of one model share it.
            operators: texts of the user's operator files.
        """
        models = {id(worker.model): worker for worker in workers}
        places = {identity: place for place, identity in enumerate(models)}
        parts = [
            Part(
                places[id(worker.model)],
                worker.ids.cpu(),
                worker.pattern,
                worker.racing,
                worker.known.reuse,
                Notebook(*worker.ledger.snapshot()) if worker.ledger else None,
                worker.score_memory,
                worker.compile,
            )
            for worker in workers
        ]
        packed = [
            (PortableModel.of(worker.model), PortableStatistics.of(worker.statistics))
            for worker in models.values()
        ]
        return cls(packed, parts, operators)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(
            tensor.data.nbytes
            for model, statistics in self.models
            for layers in (model.tensors, *statistics.values.values())
            for tensor in layers.values()
        )

    def workers(self, device: torch.device | str) -> list[FitnessWorker]:
        """Make the workers on a device; on CPUs they share what they only read."""
        on_cpu = torch.device(device).type == "cpu"
        made: list[FitnessWorker] = []
        models = []
        for portable, statistics in self.models:
            model = portable.build(device)
            layers = prunable_layers(model)
            dense = DenseWeights(layers, portable.weights() if on_cpu else None)
            models.append((model, statistics.view().to(device), dense))
        for part in self.parts:
            model, measured, dense = models[part.model]
            ledger = part.ledger and Notebook(*part.ledger.snapshot())
            made.append(
                FitnessWorker(
                    model,
                    measured,
                    part.ids,
                    part.pattern,
                    part.racing,
                    ledger,
                    dense,
                    part.reuse,
                    score_memory=part.score_memory,
                    compile=part.compile,
                )
            )
        return made
