"""DEAP trees and metrics are the same thing in two forms; randomness has an owner."""

from __future__ import annotations

import random

import torch
from deap import gp
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.metric import Metric
from pruner_zero.search.individual import Individual
from pruner_zero.search.primitives import metric_to_nodes, primitive_set, tree_to_metric
from pruner_zero.search.randomness import drawing_from
from tests.strategies import expressions


@given(expressions("extended", constants=True))
def test_conversion_round_trips(tree):
    primitives = primitive_set("paper")  # smaller than the expression's words on purpose
    metric = Metric(tree)
    assert tree_to_metric(Individual(metric_to_nodes(metric, primitives))) == metric


@given(st.integers(0, 10_000))
def test_deap_compiles_individuals_to_the_same_scores(seed):
    primitives = primitive_set("paper")
    with drawing_from(random.Random(seed)):
        tree = Individual(gp.genHalfAndHalf(primitives, 2, 4))
    generator = torch.Generator().manual_seed(seed)
    W, G = torch.rand(3, 5, generator=generator), torch.rand(3, 5, generator=generator)
    X = torch.rand(1, 5, generator=generator)
    compiled = gp.compile(tree, primitives)(W, G, X)
    score = tree_to_metric(tree).score(W, G, X)
    torch.testing.assert_close(compiled.expand(W.shape), score, equal_nan=True)


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
