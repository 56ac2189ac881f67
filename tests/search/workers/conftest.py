"""A small fitness and its kit."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.model.sparsity import Unstructured
from pruner_zero.model.statistics import measure_statistics
from pruner_zero.model.tiny import random_tiny
from pruner_zero.search.ledger import Ledger
from pruner_zero.search.racing import RacingConfig
from pruner_zero.search.worker import FitnessWorker
from pruner_zero.search.workers.kit import Kit

IDS = torch.randint(3, 259, (4, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def parts():
    """Model and statistics of the fitness; only their copies are pruned."""
    model = random_tiny()[0].requires_grad_(False)
    return model, measure_statistics(model, IDS[:2])


@pytest.fixture
def fitness(parts, tmp_path):
    """Makes a new worker, with a new ledger if one is named."""

    def make(ledger: str | None = None) -> FitnessWorker:
        model, statistics = parts
        context = Ledger(tmp_path / ledger).context({"test": 1}) if ledger else None
        racing = RacingConfig(rungs=[1, 2], margin=0.02, abandon=0.1)
        return FitnessWorker(model, statistics, IDS, Unstructured(0.5), racing, context)

    return make


@pytest.fixture(scope="session")
def kit(parts):
    """What workers elsewhere are made of: the same fitness."""
    model, statistics = parts
    racing = RacingConfig(rungs=[1, 2], margin=0.02, abandon=0.1)
    return Kit.of([FitnessWorker(model, statistics, IDS, Unstructured(0.5), racing)])
