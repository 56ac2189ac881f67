"""Pruner-Zero: genetic programming that evolves pruning metrics for large language models.

Everything that a Python user needs is importable from here; torch and transformers are loaded
when a name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Metric": "pruner_zero.metric",
    "Operator": "pruner_zero.metric",
    "operator": "pruner_zero.metric",
    "load_operators": "pruner_zero.metric",
    "simplify": "pruner_zero.metric",
    "load_model": "pruner_zero.model.loading",
    "load_corpus": "pruner_zero.data.corpus",
    "calibration_windows": "pruner_zero.data.windows",
    "consecutive_windows": "pruner_zero.data.windows",
    "measure_statistics": "pruner_zero.model.statistics",
    "perplexity": "pruner_zero.model.perplexity",
    "prune": "pruner_zero.model.prune",
    "parse_sparsity": "pruner_zero.model.sparsity",
    "FitnessWorker": "pruner_zero.search.worker",
    "UserError": "pruner_zero.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pruner_zero' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
