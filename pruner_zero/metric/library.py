"""Metrics with names: the published ones, and those that this project's search has found.

A found metric is a file ``discovered/NAME.json`` with its formula, its scope, where and on what it
was found, and the numbers that it reached.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True)
class KnownMetric:
    """A metric with a name.

    Attributes:
        formula: in the metric language.
        source: where it comes from.
        scope: whose scores compete, unless the user says otherwise.
        update: the weight update with which it was found: ``none``, ``obs`` or ``adaptive``.
    """

    formula: str
    source: str
    scope: str = "row"
    update: str = "none"


PUBLISHED: Mapping[str, KnownMetric] = MappingProxyType(
    {
        "magnitude": KnownMetric("W", "Han et al. 2015", "layer"),
        "wanda": KnownMetric("mul(W, sqrt(X))", "Sun et al. 2024, arXiv:2306.11695"),
        "gradient": KnownMetric("mul(W, G)", "first-order Taylor expansion, |W·G|"),
        "gblm": KnownMetric("add(mul(W, sqrt(X)), mul(W, G))", "Das et al. 2023, arXiv:2311.04902"),
        "ria": KnownMetric(
            "mul(add(ratio(W, rowsum(W)), ratio(W, colsum(W))), sqrt(sqrt(X)))",
            "Zhang et al. 2024 (ICLR), exponent 0.5",
        ),
        "pruner-zero": KnownMetric(
            "mul(abs(mul(W, W)), mms(G))", "Dong et al. 2024, arXiv:2406.02924"
        ),
    }
)


def _discovered() -> dict[str, KnownMetric]:
    found = {}
    for path in sorted(Path(__file__).with_name("discovered").glob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = KnownMetric(
            entry["formula"], entry["source"], entry["scope"], entry.get("update", "none")
        )
    return found


DISCOVERED: Mapping[str, KnownMetric] = MappingProxyType(_discovered())
KNOWN_METRICS: Mapping[str, KnownMetric] = MappingProxyType({**PUBLISHED, **DISCOVERED})
