"""Generations: parents stay until the brood is complete, then the best or the front stays."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pruner_zero.search.config import ALGORITHMS
from pruner_zero.search.individual import FitnessResult
from pruner_zero.search.twins import without_twins
from tests.search.landscapes import VARIANTS, fitness, landscape, make, partly, proceed, reloaded
from tests.search.people import numbers

FAILURE = FitnessResult(float("inf"), 0, 0.0, reason="NaN scores in a layer")


@pytest.mark.parametrize("name", ["mu_plus_lambda", "nsga2"])
def test_parents_change_once_per_generation(name):
    algorithm = make(2, algorithm=name, offspring_size=4)
    changes, before = [], []
    for number in range(1, 31):
        ((candidate, _),) = proceed(algorithm, 1, fitness)
        assert candidate.generation == algorithm.config.generation(number)
        if candidate.operation != "random":
            assert set(candidate.parents) <= set(before)
        if numbers(algorithm.population) != before:
            changes.append(number)
        before = numbers(algorithm.population)
    assert changes[0] == 10
    assert changes[1:]
    assert all((number - 10) % 4 == 0 for number in changes)


def test_the_best_mu_of_parents_and_offspring_stay():
    algorithm = make(3, algorithm="mu_plus_lambda", offspring_size=15)
    everyone = [c.individual for c, _ in proceed(algorithm, 10 + 15, fitness)]
    alive = [m for m in without_twins(everyone) if m.perplexity < float("inf")]
    best = sorted(alive, key=lambda m: (m.perplexity, m.number))[:10]
    assert sorted(numbers(algorithm.population)) == sorted(numbers(best))


@pytest.mark.parametrize("name", ["steady_state", "mu_plus_lambda", "nsga2"])
def test_a_search_in_which_everything_fails_goes_on(name):
    algorithm = make(4, algorithm=name)
    proceed(algorithm, 40, lambda _: FAILURE)
    assert algorithm.best is None
    assert algorithm.ranking() == []
    assert algorithm.since_best == 40
    # The first metric that works becomes a member all the same.
    proceed(algorithm, 30, fitness)
    assert algorithm.best is not None


@pytest.mark.parametrize("variant", ["nsga2", "front"])
@pytest.mark.parametrize("seed", range(4))
def test_the_front_is_what_nothing_beats_in_both(variant, seed):
    algorithm = make(seed, **VARIANTS[variant])
    seen = proceed(algorithm, 70, partly)
    told = {(r.perplexity, c.metric.size) for c, r in seen if r.complete and r.reason is None}
    expected = {
        (p, n) for p, n in told
        if not any((q <= p and m <= n) and (q, m) != (p, n) for q, m in told)
    }  # fmt: skip
    front = algorithm.front()
    assert [(m.perplexity, m.size) for m in front] == sorted(expected)
    for metric, scope, perplexity, size, parts in front:
        assert parts == (), "one text and sparsity"
        assert metric.size == size
        assert landscape(metric, scope).perplexity == perplexity
    assert (front[0].metric, front[0].scope) == (algorithm.best, algorithm.best_scope)


def test_small_trees_survive_in_nsga2_alone():
    """Where large trees are better, only the front keeps the small ones."""

    def larger_is_better(candidate):
        size = candidate.metric.size
        return FitnessResult(100.0 - size, 9, 0.0, digest=str(candidate.metric))

    sizes = {}
    for name in ("mu_plus_lambda", "nsga2"):
        algorithm = make(5, algorithm=name, population_size=12, generations=9)
        proceed(algorithm, 120, larger_is_better)
        sizes[name] = {len(member) for member in algorithm.population}
    assert min(sizes["mu_plus_lambda"]) > 10
    assert {1, 2, 3} & sizes["nsga2"]
    assert max(sizes["nsga2"]) > 12


def test_parents_of_nsga2_win_tournaments():
    algorithm = make(6, algorithm="nsga2", generations=30)
    proceed(algorithm, 10, fitness)
    standing = algorithm._standing()
    worst = max(standing, key=standing.__getitem__)
    seen = proceed(algorithm, 10, fitness)
    chosen = [parent for c, _ in seen for parent in c.parents]
    assert chosen
    assert worst not in chosen, "it would have to meet itself"


def test_the_front_of_parts_is_what_nothing_beats_in_every_part():
    def joint(candidate):
        value = landscape(candidate.metric)
        if value.reason:
            return value
        parts = (value, FitnessResult(600.0 / value.perplexity + value.losses[0], 9))
        mean = math.sqrt(parts[0].perplexity * parts[1].perplexity)
        return replace(value, perplexity=mean, parts=parts)

    algorithm = make(1, algorithm="nsga2", objectives="parts")
    seen = proceed(algorithm, 90, joint)
    told = {
        (*(part.perplexity for part in r.parts), c.metric.size) for c, r in seen if not r.reason
    }
    expected = {
        one for one in told
        if not any(other != one and all(a <= b for a, b in zip(other, one, strict=True))
                   for other in told)
    }  # fmt: skip
    assert {m.fitness.values[1:] for m in algorithm.archive} == expected
    assert len(expected) > len(make_front_of_mean(seen))
    restored = make(1, algorithm="nsga2", objectives="parts")
    restored.restore(reloaded(algorithm.state()))
    assert [m.fitness.values for m in restored.archive] == [
        m.fitness.values for m in algorithm.archive
    ]
    assert restored.ranking() == algorithm.ranking()


def make_front_of_mean(seen):
    told = {(r.perplexity, c.metric.size) for c, r in seen if not r.reason}
    return {
        (p, n) for p, n in told
        if not any((q <= p and m <= n) and (q, m) != (p, n) for q, m in told)
    }  # fmt: skip


@pytest.mark.parametrize("name", ALGORITHMS)
def test_losses_that_are_not_finite_survive_a_checkpoint(name):
    algorithm = make(0, algorithm=name)
    broken = FitnessResult(
        math.inf, 9, 9, reason="loss is not finite", digest="x", losses=(1.0, math.nan)
    )
    proceed(algorithm, 3, lambda _: broken)
    restored = make(0, algorithm=name)
    restored.restore(reloaded(algorithm.state()))
    assert restored.state() == algorithm.state()
