"""The worker as it runs in another process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pruner_zero.metric import Metric, load_operators
from pruner_zero.provenance import provenance
from pruner_zero.search.individual import FitnessResult
from pruner_zero.search.joint import JointWorker
from pruner_zero.search.racing import Rival
from pruner_zero.search.worker import FitnessWorker
from pruner_zero.search.workers.kit import Kit
from pruner_zero.search.workers.notebook import Note, Notebook

Told = tuple[str, str | None, FitnessResult]
"""What was told of a candidate: the text of its metric, its scope, its settled result."""


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back: the result, not settled, and news for the ledger of each part."""

    result: FitnessResult
    news: Sequence[Sequence[Note]] = ()


class RemoteWorker:
    """What runs in another process: evaluates candidates one at a time.

    Args:
        kit: what it is made of.
        device: ``cpu`` or ``cuda``.
        threads: of PyTorch; sums depend on their number in the last bits.
    """

    def __init__(self, kit: Kit, device: str, threads: int) -> None:
        """Build the models."""
        torch.set_num_threads(threads)
        _read_operators(kit.operators)
        self.parts = kit.workers(device)
        self.device = device
        self.fitness = self.parts[0] if len(self.parts) == 1 else JointWorker(self.parts)

    def facts(self) -> dict[str, Any]:
        """Versions, to be compared with those of the search, device, and process id."""
        return {**provenance(self.device), "pid": os.getpid()}

    def compute(
        self, metric: Metric, scope: str | None, rival: Rival | None, told: Sequence[Told]
    ) -> Outcome:
        """Evaluate a candidate before its turn.

        Args:
            metric: the metric.
            scope: whose scores compete.
            rival: whom it must beat.
            told: what was told since this worker's last candidate; masks known from there are not
                evaluated again.
        """
        for text, group, result in told:
            self.fitness.settle(text, group, result)
        result = self.fitness.compute(metric, scope, rival)
        return Outcome(result, [_news(part) for part in self.parts])


def _read_operators(texts: Sequence[str]) -> None:
    """Make the user's operators known here, where their files may not exist."""
    with TemporaryDirectory() as folder:
        for index, text in enumerate(texts):
            path = Path(folder) / f"operators_{index}.py"
            path.write_text(text, encoding="utf-8")
            load_operators(path)


def _news(part: FitnessWorker) -> list[Note]:
    return part.ledger.take() if isinstance(part.ledger, Notebook) else []
