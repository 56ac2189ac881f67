"""What is computed from a log: curves, front, genealogy, savings, words; exact values."""

from __future__ import annotations

import math

import pytest

from pruner_zero.metric import Metric
from pruner_zero.report import Curve, common_costs, read_run, spread, word_statistics, words_of
from pruner_zero.report.front import pareto_front
from pruner_zero.report.genealogy import genealogy
from pruner_zero.report.savings import failures, savings
from pruner_zero.report.words import distinct_models
from tests.report.folders import LOG, record, write_run


@pytest.fixture
def run(tmp_path):
    return read_run(write_run(tmp_path / "run"))


def test_curve(run):
    curve = Curve.of(run)
    assert curve.cost == (1.0, 2.0, 2.0, 3.0, 3.5, 3.5, 4.5)
    assert curve.minutes == pytest.approx([0.1 * n for n in range(1, 8)])
    assert curve.best == (50.0, 50.0, 50.0, 40.0, 40.0, 40.0, 39.0)
    assert curve.window == 2
    assert curve.median == (50.0, 65.0, 65.0, 60.0, 65.0, 65.0, 39.5)
    assert [curve.at(cost) for cost in (0.5, 1.0, 2.9, 3.0, 99.0)] == [math.inf, 50, 50, 40, 39]


def test_curve_before_anything_succeeded(tmp_path):
    run = read_run(write_run(tmp_path / "run", [record(1, "sub(X, X)", None)]))
    assert Curve.of(run).best == (math.inf,) == Curve.of(run).median
    assert common_costs([Curve.of(run)], points=2) == [0.0, 0.0]
    assert common_costs([]) == []


def test_spread_is_median_and_range_up_to_the_common_cost(run, tmp_path):
    other = read_run(write_run(tmp_path / "other", [record(1, "W", 70.0), record(2, "G", 30.0)]))
    curves = [Curve.of(run), Curve.of(other)]
    costs = common_costs(curves, points=4)
    assert costs == [0.5, 1.0, 1.5, 2.0]
    course = spread(curves, costs)
    assert course.low == (None, 50.0, 50.0, 30.0)
    assert course.middle == (None, 60.0, 60.0, 40.0)
    assert course.high == (None, 70.0, 70.0, 50.0)


def test_front_has_complete_evaluations_that_none_beats(run):
    # Candidate 5 has 3 nodes but was stopped; 6 and 4 are equal.
    assert [e.number for e in pareto_front(run.evaluations)] == [2, 1, 4, 7]


def test_genealogy_goes_back_to_founders(run):
    family = genealogy(run.evaluations, 7)
    assert [e.number for e in family.members] == [1, 2, 4, 7]
    assert family.edges == ((1, 4), (2, 4), (4, 7))
    assert [e.number for e in family.founders] == [1, 2]
    assert family.depth == 2
    alone = genealogy(run.evaluations, 1)
    assert (alone.edges, alone.depth) == ((), 0)


def test_genealogy_of_a_damaged_log_names_unknown_parents(tmp_path):
    log = [line for line in LOG if line["evaluation"] != 2]
    family = genealogy(read_run(write_run(tmp_path / "run", log)).evaluations, 7)
    assert family.unknown == (2,)
    assert [e.number for e in family.members] == [1, 4, 7]


def test_savings_share_out_one_full_evaluation_per_candidate(run):
    levels = {level.name: (level.candidates, level.full_evaluations) for level in savings(run)}
    assert levels == {
        "no usable masks or loss": (1, 1.0),
        "masks known in this run": (1, 1.0),
        "known from an earlier run": (1, 1.0),
        "stopped early by racing": (1, 0.5),
        "computed": (4, 3.5),
    }
    assert sum(full for _, full in levels.values()) == len(LOG)


def test_failures_by_reason_without_the_layer(tmp_path):
    log = [
        record(1, "sub(X, X)", None, reason="constant scores in layer.3"),
        record(2, "log(X)", None, reason="NaN scores in layer.1"),
        record(3, "sub(W, W)", None, reason="constant scores in layer.1"),
        record(4, "exp(X)", None, reason="loss is not finite"),
    ]
    run = read_run(write_run(tmp_path / "run", log))
    assert failures(run.evaluations) == [
        ("constant scores", 2, "sub(X, X): constant scores in layer.3"),
        ("NaN scores", 1, "log(X): NaN scores in layer.1"),
        ("loss is not finite", 1, "exp(X): loss is not finite"),
    ]


def test_words_of_a_metric():
    assert words_of(Metric.parse("mul(power(W, 0.5), G)"), "row") == {
        "mul", "power", "W", "G", "@row",
    }  # fmt: skip


def test_lift_and_shift():
    metrics = [
        (frozenset({"W", "mul"}), 1.0),
        (frozenset({"W"}), 2.0),
        (frozenset({"G"}), 3.0),
        (frozenset({"G", "mul"}), 5.0),
    ]
    found = {word.name: word for word in word_statistics(metrics, best=0.5)}
    assert {name: (word.lift, word.shift) for name, word in found.items()} == {
        "W": (2.0, 1.5 - 4.0),
        "mul": (1.0, 3.0 - 2.5),
        "G": (0.0, 4.0 - 1.5),
    }
    assert (found["mul"].kind, found["W"].kind) == ("operator", "terminal")
    assert word_statistics(metrics, least=3) == []


def test_equal_masks_count_once(run):
    losses = [loss for _, loss in distinct_models(run.evaluations)]
    assert losses == pytest.approx([math.log(p) for p in (50, 80, 40, 90, 39)])
