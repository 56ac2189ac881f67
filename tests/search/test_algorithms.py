"""What every algorithm promises: same seed same search, resume, honest ranking, no repeats."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner_zero.search.individual import FitnessResult
from tests.search.landscapes import (
    VARIANTS,
    digest_of_run,
    fitness,
    make,
    partly,
    proceed,
    reloaded,
)

variants = pytest.mark.parametrize("variant", VARIANTS)


@variants
def test_same_seed_same_search(variant):
    one = proceed(make(1, **VARIANTS[variant]), 60)
    random.seed(99)
    assert proceed(make(1, **VARIANTS[variant]), 60) == one
    other = proceed(make(2, **VARIANTS[variant]), 60)
    assert [c.metric for c, _ in other] != [c.metric for c, _ in one]


def test_same_search_in_another_process_with_another_hash_seed():
    code = (
        "from tests.search.landscapes import *\n"
        "print('\\n'.join(digest_of_run(name) for name in VARIANTS))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }
    assert outputs == {"\n".join(digest_of_run(name) for name in VARIANTS) + "\n"}


@variants
@settings(max_examples=8, deadline=None)
@given(stop=st.integers(0, 59), seed=st.integers(0, 50))
def test_restored_search_continues_as_if_uninterrupted(variant, stop, seed):
    whole = make(seed, **VARIANTS[variant])
    proceed(whole, stop)
    state = reloaded(whole.state())
    restored = make(seed + 1000, **VARIANTS[variant])
    proceed(restored, 3)  # what it holds must go
    restored.restore(state)
    assert restored.state() == state
    assert proceed(restored, 60 - stop) == proceed(whole, 60 - stop)
    assert restored.state() == whole.state()
    assert restored.ranking() == whole.ranking()


@variants
def test_members_have_distinct_masks_and_fit_in(variant):
    algorithm = make(5, **VARIANTS[variant])
    for _ in range(60):
        proceed(algorithm, 1)
        digests = [m.digest for m in algorithm.population if m.digest]
        assert len(set(digests)) == len(digests)
        assert len(algorithm.population) <= 10
    assert len(algorithm.population) > 5


@variants
@pytest.mark.parametrize("seed", range(3))
def test_partial_results_are_never_ranked(variant, seed):
    algorithm = make(seed, **VARIANTS[variant])
    seen = proceed(algorithm, 60)
    partial = {c.number for c, r in seen if not r.complete}
    assert partial & {m.number for m in algorithm.living()}, "they may live"
    assert not partial & {m.number for m in algorithm.hall_of_fame}
    complete = [r.perplexity for _, r in seen if r.complete]
    assert algorithm.best_perplexity == min(complete) > 1.0
    if VARIANTS[variant].get("algorithm") == "nsga2":
        assert all(member.perplexity > 1.0 for member in algorithm.front())


def test_a_complete_twin_takes_the_place_of_a_partial_one():
    algorithm = make()
    first, second = algorithm.ask(), algorithm.ask()
    algorithm.tell(first, FitnessResult(9.0, 5, 0.0, digest="same", complete=False))
    assert algorithm.best is None
    algorithm.tell(second, FitnessResult(11.0, 9, 0.0, digest="same"))
    assert [m.number for m in algorithm.population] == [2]
    assert algorithm.best_perplexity == 11.0


def test_places_of_the_hall_of_fame():
    algorithm = make(4, hall_of_fame=5)
    assert algorithm.place(1) is None
    proceed(algorithm, 60)
    places = [algorithm.place(rank) for rank in range(1, 6)]
    assert [m.perplexity for m in places] == [entry.perplexity for entry in algorithm.ranking()]
    assert algorithm.place(0) is algorithm.place(6) is None
    assert all(m.complete and m.losses for m in places)


def test_equally_good_metrics_keep_their_order_through_a_checkpoint():
    algorithm = make()
    for number in range(4):
        proceed(algorithm, 1, lambda _, n=number: FitnessResult(20.0, 9, 0.0, digest=str(n)))
    restored = make()
    restored.restore(reloaded(algorithm.state()))
    assert restored.ranking() == algorithm.ranking()
    assert len({str(entry.metric) for entry in algorithm.ranking()}) == 4


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_immigrants_are_random_trees_among_the_offspring(share):
    operations = [c.operation for c, _ in proceed(make(2, immigrants=share), 60)]
    assert set(operations[:10]) == {"random"}
    born = operations[10:].count("random")
    assert born == share * 50 or (share == 0.3 and 0 < born < 50)


@variants
def test_repeats_are_refused_and_counted(variant):
    seen = set()
    algorithm = make(6, **VARIANTS[variant])

    def is_repeat(metric, scope):
        return (metric, scope) in seen

    for _ in range(60):
        refused = algorithm.refused
        candidate = algorithm.ask(is_repeat)
        if is_repeat(candidate.metric, candidate.individual.scope):
            assert algorithm.refused - refused == algorithm.config.variation.attempts - 1
        seen.add((candidate.metric, candidate.individual.scope))
        algorithm.tell(candidate, fitness(candidate))
    assert algorithm.refused > 0
    assert len(seen) > 55


def test_the_last_attempt_is_taken_though_it_is_a_repeat():
    algorithm = make()
    calls = []
    algorithm.ask(lambda metric, scope: calls.append(metric) or True)
    attempts = algorithm.config.variation.attempts
    assert (len(calls), algorithm.refused) == (attempts, attempts - 1)


def test_look_alikes_come_last_in_their_order_and_none_is_lost():
    algorithm = make(8)
    looked = []

    def looks_known(metric, scope):
        looked.append(str(metric))
        return "X" in str(metric)

    made = []
    for _ in range(20):
        candidate = algorithm.ask(looks_known=looks_known)
        assert "X" not in str(candidate.metric)
        made.append(str(candidate.metric))
        algorithm.tell(candidate, fitness(candidate))
    waiting = [str(metric) for metric, _ in algorithm.waiting]
    assert waiting and waiting == [text for text in looked if "X" in text]
    assert sorted(looked) == sorted(made + waiting)
    # Nothing new is bred any more: those that wait get their turn, the oldest first.
    for expected in waiting[:5]:
        candidate = algorithm.ask(looks_known=lambda metric, scope: True)
        assert str(candidate.metric) == expected
        assert candidate.number == candidate.individual.number == algorithm.asked
        algorithm.tell(candidate, fitness(candidate))
    assert [str(metric) for metric, _ in algorithm.waiting][: len(waiting) - 5] == waiting[5:]


def test_who_waits_until_it_is_known_is_refused():
    algorithm = make()
    algorithm.ask(looks_known=lambda metric, scope: True)
    first, second = (str(metric) for metric, _ in list(algorithm.waiting)[:2])
    refused = algorithm.refused
    known = algorithm.ask(lambda metric, scope: str(metric) != second, lambda *_: True)
    assert str(known.metric) == second
    assert algorithm.refused == refused + algorithm.config.variation.attempts + 1
    assert first not in [str(metric) for metric, _ in algorithm.waiting]


@variants
def test_a_checkpoint_holds_those_that_wait(variant):
    def looks_known(metric, scope):
        return "X" in str(metric) or scope == "model"

    def go_on(algorithm, count):
        seen = []
        for _ in range(count):
            candidate = algorithm.ask(looks_known=looks_known)
            algorithm.tell(candidate, partly(candidate))
            seen.append(candidate)
        return seen

    whole, parts = make(9, **VARIANTS[variant]), make(9, **VARIANTS[variant])
    expected = go_on(whole, 40)
    before = go_on(parts, 25)
    assert parts.waiting
    resumed = make(9, **VARIANTS[variant])
    resumed.restore(reloaded(parts.state()))
    assert before + go_on(resumed, 15) == expected
    assert resumed.state() == whole.state()


def test_seeds_are_taken_though_they_are_repeats():
    algorithm = make(seeds=["wanda", "wanda@model", "wanda"])
    made = []
    for _ in range(3):
        candidate = algorithm.ask(lambda metric, scope: True)
        made.append((candidate.operation, str(candidate.metric), candidate.individual.scope))
        algorithm.tell(candidate, fitness(candidate))
    assert made[0] == made[2]
    assert [scope for _, _, scope in made] == [None, "model", None]
    assert algorithm.refused == 0


@variants
def test_stagnation_counts_candidates_since_the_best(variant):
    algorithm = make(7, stagnation=12, **VARIANTS[variant])
    since = 0
    for _ in range(60):
        before = algorithm.answer()
        proceed(algorithm, 1, partly)
        since = since + 1 if algorithm.answer() == before else 0
        assert algorithm.since_best == since
        assert algorithm.stagnant == (since >= 12)
    assert not make().stagnant


def test_metrics_of_numbers_alone_are_not_evaluated():
    algorithm = make(8, constants=[0.5, 1.0, 2.0, 3.0, 4.0, 5.0])
    seen = proceed(algorithm, 100)
    assert all(c.metric.terminals for c, _ in seen)
    assert any(node.is_constant for c, _ in seen for node in c.metric.expression.nodes())


@pytest.mark.parametrize("init", ["grow", "full"])
def test_shapes_of_random_trees(init):
    algorithm = make(9, init=init, population_size=60)
    raw = [c.raw.expression for c, _ in proceed(algorithm, 60)]

    def is_full(tree):
        depths = {child.depth for child in tree.children}
        return len(depths) < 2 and all(is_full(child) for child in tree.children)

    assert all(is_full(tree) for tree in raw) == (init == "full")
