"""Scores of columns: those of the whole layer, whatever the metric does with it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.metric import OPERATORS, Metric
from pruner_zero.metric.expression import Expression
from pruner_zero.metric.facts import is_pointwise
from tests.strategies import expressions

GENERATOR = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(6, 12, generator=GENERATOR)
VALUES = {
    "G": torch.rand(6, 12, generator=GENERATOR),
    "X": torch.rand(1, 12, generator=GENERATOR),
    "R": torch.rand(6, 1, generator=GENERATOR),
    "M": torch.rand(1, 12, generator=GENERATOR),
    "V": torch.rand(1, 12, generator=GENERATOR),
    "H": torch.rand(1, 12, generator=GENERATOR),
    "D": torch.full((1, 1), 0.5),
}


def read_by(metric):
    return {name: VALUES[name] for name in metric.terminals - {"W"}}


@given(expressions(), st.integers(0, 11), st.integers(1, 12))
def test_columns_of_the_whole_layers_scores(tree, start, count):
    metric = Metric(tree)
    columns = slice(start, min(12, start + count))
    scores = metric.column_scores(read_by(metric))
    whole = metric.score(WEIGHT, **read_by(metric))
    torch.testing.assert_close(scores(WEIGHT, columns), whole[:, columns], equal_nan=True)


@pytest.mark.parametrize("name", OPERATORS)
def test_pointwise_operators_and_no_others_need_one_place_alone(name):
    operator = OPERATORS[name]
    arguments = [WEIGHT, WEIGHT.roll(1, 0)][: operator.arity]
    whole = operator.function(*arguments)
    part = operator.function(*(argument[:2, 3:5] for argument in arguments))
    leaves = [Expression("W")] * operator.arity
    same = whole.shape == WEIGHT.shape and torch.allclose(whole[:2, 3:5], part, equal_nan=True)
    assert is_pointwise(Expression(name, tuple(leaves))) == same


@pytest.mark.parametrize(
    ("formula", "local"),
    [
        ("mul(W, sqrt(X))", True),
        ("mul(sqr(W), mms(G))", True),  # the whole layer's G does not change
        ("mul(W, power(layermean(G), 2.0))", True),
        ("mms(mul(W, G))", False),
        ("ratio(W, rowsum(W))", False),
        ("G", True),
        ("mul(W, sqrt(2.0))", True),
    ],
)
def test_what_is_local(formula, local):
    metric = Metric.parse(formula)
    assert metric.column_scores(read_by(metric)).local == local
