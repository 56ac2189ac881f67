"""DEAP trees and metrics are the same thing in two forms; randomness has an owner."""

from __future__ import annotations

import random

import pytest
import torch
from deap import gp
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.errors import UserError
from pruner_zero.metric import OPERATORS, TERMINALS, Metric, terminal_set
from pruner_zero.search.individual import Individual
from pruner_zero.search.primitives import metric_to_nodes, primitive_set, tree_to_metric
from pruner_zero.search.randomness import drawing_from
from tests.strategies import expressions


@given(expressions("wide", constants=True, terminals="wide"))
def test_conversion_round_trips(tree):
    primitives = primitive_set("paper")  # smaller than the expression's words on purpose
    metric = Metric(tree)
    assert tree_to_metric(Individual(metric_to_nodes(metric, primitives))) == metric


@pytest.mark.parametrize("space", ["paper", "wide"])
@given(seed=st.integers(0, 10_000))
def test_deap_compiles_individuals_to_the_same_scores(space, seed):
    primitives = primitive_set(space, space)
    with drawing_from(random.Random(seed)):
        tree = Individual(gp.genHalfAndHalf(primitives, 2, 4))
    generator = torch.Generator().manual_seed(seed)
    values = {
        terminal.name: torch.rand(terminal.shape(3, 5), generator=generator)
        for terminal in terminal_set(space)
    }
    compiled = gp.compile(tree, primitives)(*values.values())
    score = tree_to_metric(tree).score(**values)
    torch.testing.assert_close(compiled.expand(3, 5), score, equal_nan=True)


def test_the_paper_space_is_what_it_was():
    """Random trees of the first release, which every recorded search started from."""
    expected = {
        "paper": ["neg(sqrt(W))", "sub(pow(zsn(add(W, G))), neg(W))", "mms(exp(W))"],
        "extended": ["skp(min(W, W))", "rowmean(sub(neg(W), G))", "mul(colsum(G), sub(X, W))"],
    }
    for operators, trees in expected.items():
        primitives = primitive_set(operators)
        with drawing_from(random.Random(7)):
            drawn = [Individual(gp.genHalfAndHalf(primitives, 2, 4)) for _ in trees]
        assert [str(tree_to_metric(tree)) for tree in drawn] == trees


def test_the_wide_space_draws_every_word_and_constant():
    primitives = primitive_set("wide", "wide", (0.5, -1, 2.0))
    words = set()
    with drawing_from(random.Random(0)):
        for _ in range(300):
            metric = tree_to_metric(Individual(gp.genHalfAndHalf(primitives, 2, 4)))
            words |= {node.label for node in metric.expression.nodes()}
            assert Metric.parse(str(metric)) == metric
    assert words == {*OPERATORS, *TERMINALS, "0.5", "-1.0", "2.0"}
    for constant in (float("nan"), float("inf"), 1e30):
        with pytest.raises(UserError, match="not a finite number"):
            primitive_set(constants=[constant])
    with pytest.raises(UserError, match="no terminal set"):
        primitive_set(terminals="extended")


def test_a_search_neither_disturbs_nor_hears_the_global_generator():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    own = random.Random(0)
    with drawing_from(own):
        first = random.random()
        random.seed(77)
    assert random.random() == expected
    assert first == random.Random(0).random()
