"""Pruning by metrics that read more than G and X, in both flows."""

from __future__ import annotations

import pytest

from pruner_zero.metric import Metric
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.prune import prune
from pruner_zero.model.scoring import scorer
from pruner_zero.model.selection import row_mask
from pruner_zero.model.statistics import measure_statistics

from .conftest import tiny_llama


def zeros(model):
    return {layer.name: layer.weight == 0 for layer in prunable_layers(model)}


WIDE = "mul(mul(ratio(sqr(W), H), sqrt(add(V, sqr(M)))), mul(sqrt(R), power(D, 0.5)))"


@pytest.mark.parametrize("mode", ["sequential", "one_shot"])
@pytest.mark.parametrize("update", ["none", "obs"])
def test_wide_terminals_are_measured_as_needed(ids, mode, update):
    """Layer inputs come from the flow, gradients and what one-shot reads from the dense model."""
    by_hand, metric = tiny_llama(), Metric.parse(WIDE)
    dense = measure_statistics(by_hand, ids, metric.terminals)
    for block in range(2):
        now = measure_statistics(by_hand, ids, "HVM") if mode == "sequential" else dense
        score = scorer(metric, dense.with_values({name: now.values[name] for name in "HVM"}))
        for layer in prunable_layers(by_hand)[7 * block : 7 * block + 7]:
            layer.weight.data[row_mask(score(layer), layer.shape[1] // 2)] = 0
    model = tiny_llama()
    prune(model, WIDE, 0.5, calibration=ids, mode=mode, update=update)
    names = [layer.name for layer in prunable_layers(model)]
    # The update changes what the second block sees.
    compared = names[:7] if update == "obs" and mode == "sequential" else names
    assert all(zeros(model)[name].equal(zeros(by_hand)[name]) for name in compared)
    given = tiny_llama()
    prune(given, WIDE, 0.5, calibration=ids, statistics=dense, mode=mode, update=update)
    assert all(zeros(given)[name].equal(zeros(model)[name]) for name in names)


def test_wide_one_shot_needs_no_calibration_beside_statistics(ids):
    statistics = measure_statistics(tiny_llama(), ids, Metric.parse(WIDE).terminals)
    for scope in ("row", "block", "model"):
        report = prune(tiny_llama(), WIDE, 0.5, statistics=statistics, mode="one_shot", scope=scope)
        assert report.zeros == report.weights // 2
    prune(tiny_llama(), "mul(W, R)", 0.5, statistics=statistics)
    prune(tiny_llama(), "mul(W, add(D, G))", 0.5, calibration=ids)
