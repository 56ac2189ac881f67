"""Distances, shared ranks, ageing: who breeds and who stays."""

from __future__ import annotations

import pytest
from hypothesis import given

from pruner_zero.metric import Metric
from pruner_zero.search.diversity import distance, standing, survivors
from pruner_zero.search.individual import FitnessResult, Individual
from pruner_zero.search.primitives import metric_to_nodes
from tests.search.landscapes import fitness, make, proceed
from tests.search.people import PAPER, numbers, person
from tests.strategies import expressions


@given(expressions(constants=True), expressions(constants=True), expressions(constants=True))
def test_distance_is_a_metric_up_to_the_order_of_words(one, two, three):
    a, b, c = (Individual(metric_to_nodes(Metric(tree), PAPER)) for tree in (one, two, three))
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert 0 <= distance(a, b) <= 1
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-12


def test_distance_counts_words_scopes_and_numbers():
    assert distance(person("mul(W, G)"), person("mul(G, W)")) == 0
    assert distance(person("mul(W, 2.0)"), person("mul(W, 3.0)")) == 0
    # mul, W and the scope are common; G and X are not.
    assert distance(person("mul(W, G)"), person("mul(W, X)")) == pytest.approx(2 / 5)
    assert distance(person("W", scope="row"), person("W", scope="model")) == pytest.approx(2 / 3)


FAMILY = [
    person("mul(W, G)", 10, 1),
    person("mul(G, W)", 11, 2),
    person("mul(W, mul(W, G))", 12, 3),
    person("tanh(log(X))", 13, 4),
    person("tanh(log(neg(X)))", float("inf"), 5),
]


def test_without_diversity_the_lowest_perplexity_breeds_first():
    assert numbers(standing(FAMILY[::-1], "none")) == [1, 2, 3, 4, 5]
    assert numbers(standing(FAMILY[::-1], "age")) == [1, 2, 3, 4, 5]
    tie = [person("W", 10, 9), person("G", 10, 3)]
    assert numbers(standing(tie, "none")) == [3, 9]


def test_shared_ranks_favour_the_lonely():
    family = [person("mul(W, G)", 10 + n, n) for n in (1, 2, 3)]
    lonely, failed = person("tanh(X)", 14, 4), person("log(W)", float("inf"), 5)
    # Ranks 5, 4, 3 are divided by three relatives each, 2 and 1 by the individual alone.
    order = standing([failed, lonely, *family], "sharing")
    assert numbers(order) == [4, 1, 2, 3, 5]
    strangers = [person("mul(W, G)", 10, 1), person("tanh(X)", 11, 2), person("log(exp(X))", 12, 3)]
    assert numbers(standing(strangers, "sharing")) == [1, 2, 3]
    assert numbers(survivors([*family, lonely, failed], 2, "sharing")) == [1, 4]


def test_who_stays():
    assert numbers(survivors(FAMILY, 9, "none")) == [1, 2, 3, 4, 5]
    assert numbers(survivors(FAMILY, 3, "none")) == [1, 2, 3]
    assert numbers(survivors(FAMILY, 3, "age")) == [1, 3, 4], "the best, then the youngest alive"
    for diversity in ("none", "sharing", "age"):
        assert numbers(survivors(FAMILY, 1, diversity)) == [1], "the best always stays"


def test_equal_trees_of_different_scopes_are_different_members():
    twins = [person("W", 10, 1, scope="row"), person("W", 12, 2, scope="model"), person("G", 11, 3)]
    assert numbers(survivors(twins, 2, "none")) == [1, 3]


def test_ageing_drops_the_oldest_but_not_the_best():
    algorithm = make(0, diversity="age")
    proceed(algorithm, 60, fitness)
    kept = sorted(numbers(algorithm.population))
    best = min(algorithm.population, key=lambda m: m.perplexity)
    assert best.perplexity == algorithm.best_perplexity
    assert min(number for number in kept if number != best.number) > 30


def test_sharing_and_ageing_keep_a_more_diverse_population():
    def roots(candidate):
        """A landscape on which one family of formulas takes over."""
        words = [node.label for node in candidate.metric.expression.nodes()]
        value = 100 - 10 * words.count("sqrt") / len(words) - words.count("W")
        return FitnessResult(value, 9, 0.0, digest=str(candidate.metric))

    spread = dict.fromkeys(("none", "sharing", "age"), 0.0)
    for diversity in spread:
        for seed in range(6):
            algorithm = make(seed, diversity=diversity)
            proceed(algorithm, 70, roots)
            members = algorithm.population
            spread[diversity] += sum(distance(a, b) for a in members for b in members)
    assert spread["sharing"] > 1.1 * spread["none"]
    assert spread["age"] > 1.3 * spread["none"]
