"""What a finished search says of its metric."""

from __future__ import annotations

import pytest

from pruner_zero import Metric
from pruner_zero.commands.final import Pick
from pruner_zero.commands.outcome import _resembles


@pytest.mark.parametrize(
    ("formula", "scope", "said"),
    [
        ("mul(sqrt(X), W)", None, ", which orders weights like wanda"),
        ("mul(sqr(mul(W, G)), 3)", "layer", ", which orders weights like gradient"),
        ("ratio(W, rowsum(W))", "row", ", which orders weights like magnitude"),
        ("ratio(W, rowsum(W))", "layer", ""),
        ("mul(X, G)", None, ""),
    ],
)
def test_a_known_metric_in_other_words_is_said(formula, scope, said):
    assert _resembles(Pick(Metric.parse(formula), scope, 1.0, 1.0)) == said
