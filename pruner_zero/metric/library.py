"""The published metrics, as expressions of the language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class KnownMetric:
    """A published metric: its formula in the metric language and where it comes from."""

    formula: str
    source: str


KNOWN_METRICS: Mapping[str, KnownMetric] = MappingProxyType(
    {
        "magnitude": KnownMetric("W", "Han et al. 2015"),
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
