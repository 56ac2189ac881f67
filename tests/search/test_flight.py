"""Several candidates in flight: the same search whatever the timing, and after every kill."""

from __future__ import annotations

import random

import pytest

from pruner_zero.search.algorithms import make_algorithm
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.driver import run_search
from pruner_zero.search.flight import Flight
from pruner_zero.search.individual import FitnessResult
from pruner_zero.search.known import KnownResults
from pruner_zero.search.run_folder import RunFolder
from tests.search.landscapes import VARIANTS, Landscape, landscape, make, simplify

FILES = ("evaluations.jsonl", "checkpoint.json", "hall_of_fame.json", "best_metric.json")


class Hurried(Landscape):
    """Begins at once, as workers do; what is announced is what is asked for, in that order."""

    def __init__(self, interrupt_at=None):
        super().__init__(interrupt_at)
        self.announced = []

    def announce(self, metric, scope, rival):
        self.announced.append((metric, scope, rival, landscape(metric, scope)))

    def evaluate(self, metric, scope=None, rival=None):
        super().evaluate(metric, scope, rival)
        *announced, result = self.announced.pop(0)
        assert announced == [metric, scope, rival]
        return result


def run(folder, depth, evaluator=None, seed=4, **settings):
    algorithm = make(seed, **{"generations": 12, **settings})
    flight = Flight(depth)
    seen = []
    if folder.config.exists():
        if saved := folder.resume():
            algorithm.restore(saved[0])
            flight.restore(saved[0]["flight"], algorithm.primitives)
    else:
        folder.begin("")
    progress = run_search(
        algorithm,
        evaluator or Landscape(),
        folder,
        lambda a, c, r, p: seen.append((c, r)),
        flight=flight,
    )
    return progress, seen


def contents(folder):
    return [(folder.path / name).read_text() for name in FILES]


@pytest.mark.parametrize("variant", VARIANTS)
def test_search_depends_on_the_depth_and_not_on_who_computes_when(tmp_path, variant):
    logs = {}
    for depth in (1, 4):
        folders = [RunFolder(tmp_path / f"{kind}{depth}") for kind in ("lazy", "hurried")]
        run(folders[0], depth, Landscape(), **VARIANTS[variant])
        run(folders[1], depth, Hurried(), **VARIANTS[variant])
        assert contents(folders[0]) == contents(folders[1])
        logs[depth] = contents(folders[0])[0]
    if variant == "steady_state":
        assert logs[1] != logs[4]
    if variant in ("mu_plus_lambda", "nsga2", "comma"):
        assert logs[1] == logs[4], "a generation is made from its parents alone"


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_with_candidates_in_flight_and_resumed(tmp_path, variant):
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    run(whole, 4, **VARIANTS[variant])
    generator = random.Random(0)
    for _ in range(6):
        evaluator = Hurried(interrupt_at=generator.randrange(1, 7))
        assert run(parts, 4, evaluator, **VARIANTS[variant])[0].stopped == "interrupted"
    run(parts, 4, **VARIANTS[variant])
    assert contents(parts) == contents(whole)


def test_parents_were_told_when_their_offspring_was_asked_for(tmp_path):
    _, seen = run(RunFolder(tmp_path / "run"), 6)
    lags = [c.number - max(c.parents) for c, _ in seen if c.parents]
    assert min(lags) == 6


@pytest.mark.parametrize("algorithm", ["mu_plus_lambda", "nsga2"])
def test_generations_wait_for_their_parents(tmp_path, algorithm):
    _, seen = run(RunFolder(tmp_path / "run"), 6, algorithm=algorithm)
    made = {c.number: c for c, _ in seen}
    for candidate, _ in seen:
        assert all(made[p].generation < candidate.generation for p in candidate.parents)
        assert (candidate.operation == "random") == (candidate.generation == 0)


def test_no_metric_flies_twice(tmp_path):
    """The tiny space of one terminal deep trees is soon used up: repeats are asked for."""
    algorithm = make_algorithm(SearchConfig(population_size=30, generations=1), 0, simplify)
    flying, doubles = [], 0

    class Watching(Landscape):
        def announce(self, metric, scope, rival):
            nonlocal doubles
            doubles += (metric, scope) in flying
            flying.append((metric, scope))

        def evaluate(self, metric, scope=None, rival=None):
            flying.pop(0)
            return super().evaluate(metric, scope, rival)

    run_search(algorithm, Watching(), flight=Flight(25))
    assert algorithm.refused > 0
    assert doubles == 0


@pytest.mark.parametrize("settings", [{"evaluations": 33}, {"stagnation": 20}])
def test_a_budget_is_kept_exactly_and_a_larger_one_goes_on(tmp_path, settings):
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    run(whole, 4)
    progress, seen = run(parts, 4, **settings)
    assert progress.candidates == len(seen) < 130
    if "evaluations" in settings:
        assert progress.evaluations == 33
    run(parts, 4)
    assert contents(parts) == contents(whole)


def test_equal_masks_cost_nothing_whenever_they_were_computed():
    known = KnownResults(window_tokens=10)
    key = ("W", "row")
    late = FitnessResult(9.0, tokens=30, cost=30, digest="a", losses=(1.0,) * 3, fingerprint="f")
    first = known.settle(key, late)
    assert (first, known.by_expression(key).known_by) == (late, "expression")
    # Computed beside the first one, for another rival: further, and with another estimate.
    beside = FitnessResult(8.0, tokens=20, cost=20, digest="a", losses=(1.0,) * 2, complete=False)
    again = known.settle(("sqr(W)", "row"), beside)
    assert (again.cost, again.tokens, again.known_by) == (0, 20, "digest")
    assert (again.perplexity, again.losses, again.complete) == (9.0, late.losses, True)
    # A worker that died does not matter where the text is known.
    died = known.settle(key, FitnessResult(float("inf"), reason="worker died"))
    assert (died.perplexity, died.reason, died.known_by) == (9.0, None, "expression")
    failed = known.settle(("sub(W, W)", "row"), FitnessResult(float("inf"), reason="NaN"))
    assert (failed.reason, known.by_digest(None)) == ("NaN", None)
    assert known.looks_known("f") and not known.looks_known(None)
    charged = KnownResults(window_tokens=10, reuse=False)
    charged.settle(key, late)
    assert charged.settle(("sqr(W)", "row"), beside).cost == 30
