"""The probes of a plan: each is kept as it is measured, and none is measured twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pruner_zero.commands.kept import Kept
from pruner_zero.errors import UserError
from pruner_zero.model.tolerance import Probe

# No probe depends on these: a plan may go on with another tolerance or with more metrics.
_FREE = ("metrics", "patterns", "tolerance", "resolution", "highest", "output", "device", "memory",
         "cache", "operator_files")  # fmt: skip


class Probes:
    """The probes in a plan's folder, by metric and sparsity.

    Args:
        folder: of the plan.
        cfg: the command's configuration.
        operators: SHA-256 of the user's operator files.

    Raises:
        UserError: the folder holds something else, a complete plan, or probes of other settings.
    """

    def __init__(self, folder: Path, cfg: DictConfig, operators: Sequence[str]) -> None:
        """Begin the folder, or read what it holds."""
        if (folder / "plan.json").exists():
            raise UserError(f"{folder} already holds a plan: give another output")
        self._kept = Kept(folder, "probes.jsonl")
        records = self._kept.open(cfg, _FREE, operators)
        self._known = {(r["metric"], r["sparsity"]): _probe(r) for r in records}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._known)

    def check_text(self, sha256: str) -> None:
        """See `Kept.check_text`."""
        self._kept.check_text(sha256)

    def get(
        self, metric: str, sparsity: str, sha256: str, measure: Callable[[], Probe]
    ) -> tuple[Probe, bool]:
        """Return a probe and whether it was known; measure and keep it otherwise.

        Args:
            metric: its formula with its scope, or a published name.
            sparsity: as users write it.
            sha256: of the corpus.
            measure: makes it.
        """
        if found := self._known.get((metric, sparsity)):
            return found, True
        probe = measure()
        self._kept.add({"metric": metric, **plain(probe), "corpus_sha256": sha256})
        self._known[metric, sparsity] = probe
        return probe, False

    def how_to_go_on(self) -> str:
        """What to type after an interruption."""
        return self._kept.how_to_go_on()


def plain(probe: Probe) -> dict[str, Any]:
    """A probe as plain JSON values; what is infinite is None."""
    values = asdict(probe)
    return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in values.items()}


def _probe(record: dict[str, Any]) -> Probe:
    numbers = {
        name: math.inf if record[name] is None else record[name]
        for name in ("ratio", "perplexity", "change", "margin")
    }
    return Probe(record["sparsity"], **numbers)
