"""The tuner: steps adapt, numbers reach the optimum, metrics without numbers vary normally."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from pruner_zero.search.driver import run_search
from pruner_zero.search.individual import Candidate, FitnessResult
from pruner_zero.search.randomness import drawing_from
from pruner_zero.search.tuning import Tuner
from pruner_zero.search.variation_config import TuneConfig
from tests.search.landscapes import Landscape, make, proceed, reloaded
from tests.search.numbers import words
from tests.search.people import person

TARGETS = (0.03, 70.0)


def bowl(candidate: Candidate) -> FitnessResult:
    """A quadratic landscape in the logarithms of two numbers; other trees are bad."""
    values = [float(n.label) for n in candidate.metric.expression.nodes() if n.is_constant]
    if len(values) != 2 or min(values) <= 0:
        return FitnessResult(1000.0, 9, 0.0, digest=str(candidate.metric))
    square = sum(math.log(v / t) ** 2 for v, t in zip(values, TARGETS, strict=True))
    return FitnessResult(10.0 + square, 9, 0.0, digest=str(candidate.metric))


def bowl_search(seed: int, share: float):
    return make(
        seed,
        population_size=2,
        generations=200,
        seeds=["add(mul(W, 1.0), mul(G, 1.0))", "W"],
        tune=TuneConfig(share=share),
    )


@pytest.mark.parametrize("seed", range(3))
def test_tuned_numbers_reach_the_bottom_of_a_bowl(seed):
    algorithm = bowl_search(seed, 1.0)
    start = bowl(proceed(algorithm, 2, bowl)[0][0]).perplexity
    assert start > 35
    seen = proceed(algorithm, 200, bowl)
    assert {c.operation for c, _ in seen} == {"tune"}
    assert algorithm.best_perplexity < 10.05
    assert algorithm.tuner.step < 0.3, "near the optimum steps are short"


class Bowl(Landscape):
    """The same bowl as an evaluator, which notes whom every candidate races."""

    def __init__(self):
        super().__init__()
        self.rivals = []

    def evaluate(self, metric, scope=None, rival=None):
        self.rivals.append(rival)
        perplexity = 10.0 + 30.0 / len(self.rivals)
        return FitnessResult(perplexity, 9, 9, digest=str(metric), losses=(perplexity,))


def test_a_tuned_candidate_races_its_parent_where_that_is_better_than_the_holder_of_the_place():
    evaluator = Bowl()
    algorithm = bowl_search(0, 1.0)
    parents = {}

    def note(algorithm, candidate, result, progress):
        parents[candidate.number] = candidate.parents

    run_search(algorithm, evaluator, observer=note, place=2)
    losses = [(10.0 + 30.0 / number,) for number in range(1, len(evaluator.rivals) + 1)]
    tuned = [number for number in parents if parents[number]]
    assert len(tuned) == len(parents) - 2 > 100
    for number in tuned:
        (parent,) = parents[number]
        rival = evaluator.rivals[number - 1]
        assert (rival.losses, rival.holds_place) == (losses[parent - 1], True)


def test_tuning_beats_mutation_alone():
    best = {}
    for share in (0.0, 0.5):
        algorithm = bowl_search(0, share)
        proceed(algorithm, 120, bowl)
        best[share] = algorithm.best_perplexity
    assert best[0.5] < best[0.0]


def test_share_is_a_share_and_needs_numbers():
    seen = proceed(make(0, tune=TuneConfig(share=1.0)), 60)
    assert not any(c.operation == "tune" for c, _ in seen)
    algorithm = make(1, seeds=["mul(W, add(G, 0.5))"], generations=60, tune=TuneConfig(share=0.3))
    made = [c.operation for c, _ in proceed(algorithm, 300)][10:]
    assert 0.2 < made.count("tune") / len(made) < 0.5


def test_only_the_best_with_numbers_are_tuned():
    famed = [person("W", 1, 1), person("mul(W, 2.0)", 2, 2), person("mul(G, 3.0)", 3, 3),
             person("mul(X, 4.0)", 4, 4)]  # fmt: skip
    tuner = Tuner(TuneConfig(share=1, top=2))
    with drawing_from(random.Random(0)):
        proposals = [tuner.propose(famed) for _ in range(60)]
        assert tuner.propose(famed[:1]) is None
    assert {p.parents for p in proposals} == {(2,), (3,)}
    assert all(p.operation == "tune" for p in proposals)
    assert words(famed[1]) == ["mul", "W", "2.0"], "the parent stays as it is"


def test_one_or_several_numbers_move():
    parent = person("add(mul(W, 2.0), mul(G, 3.0))", 5, 1, scope="model")
    tuner = Tuner(TuneConfig(share=1))
    moved = set()
    with drawing_from(random.Random(0)):
        for _ in range(60):
            child = tuner.propose([parent]).individual
            assert child.scope == "model"
            moved.add(tuple(a != b for a, b in zip(words(parent), words(child), strict=True)))
    assert {sum(places) for places in moved} == {1, 2}
    assert len(moved) == 3


def told(result: FitnessResult, tuned: bool = True) -> float:
    """The step after one result, 1 before."""
    seeds = ["mul(W, add(G, 2.0))", "W"]
    algorithm = make(0, population_size=2, seeds=seeds, tune=TuneConfig(1, step=1.0))
    proceed(algorithm, 2, lambda c: FitnessResult(20.0, 9, 0.0, digest=str(c.number)))
    candidate = algorithm.ask()
    assert candidate.operation == "tune"
    assert candidate.baseline == (str(candidate.parents[0]), 20.0)
    if not tuned:
        candidate = replace(candidate, operation="node", baseline=None)
    algorithm.tell(candidate, result)
    assert reloaded(algorithm.state())["tuner"] == {"step": algorithm.tuner.step}
    return algorithm.tuner.step


def test_steps_adapt_to_success():
    longer = told(FitnessResult(19.0, 9, 0.0, digest="new"))
    shorter = told(FitnessResult(21.0, 9, 0.0, digest="new"))
    assert longer > 1 > shorter
    assert longer * shorter**4 == pytest.approx(1), "one success in five is the balance"
    assert told(FitnessResult(20.0, 0, 0.0, digest="1")) == longer, "too short to change a mask"
    assert told(FitnessResult(19.0, 3, 0.0, digest="new", complete=False)) == shorter
    assert told(FitnessResult(float("inf"), 0, 0.0, reason="NaN")) == shorter
    assert told(FitnessResult(19.0, 9, 0.0, digest="new"), tuned=False) == 1
