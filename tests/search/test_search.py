"""The loop: determinism, drop the worst, identity by masks, budgets, resume."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys

import pytest

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.search.algorithms import make_algorithm
from pruner_zero.search.config import SearchConfig, VariationConfig
from pruner_zero.search.driver import run_search
from pruner_zero.search.individual import Candidate, FitnessResult
from pruner_zero.search.run_folder import RunFolder


def simplify(metric: Metric, scope: str | None) -> Metric:
    return metric.simplified("rank", scope or "row")


def fitness(candidate: Candidate) -> FitnessResult:
    """A stand-in for a model: a deterministic landscape with failures and equal masks."""
    return landscape(candidate.metric)


def landscape(metric: Metric) -> FitnessResult:
    digest = hashlib.sha256(str(metric).encode()).hexdigest()[:8]
    value = int(digest, 16) % 997
    if value % 7 == 0:
        return FitnessResult(float("inf"), 0, 0.0, reason="NaN scores in a layer")
    return FitnessResult(10 + value / 10, 100, 0.0, digest=f"{value % 500}")


def run(seed=0, folder=None, evaluate=fitness, **settings):
    config = SearchConfig(**{"population_size": 10, "generations": 6, **settings})
    algorithm = make_algorithm(config, seed, simplify)
    seen = []
    progress = run_search(
        algorithm, evaluate, folder, lambda a, c, r, p: seen.append((c, r, len(a.population)))
    )
    return algorithm, progress, seen


@pytest.mark.parametrize("kind", ["steady_state", "random"])
@pytest.mark.parametrize("seed", [0, 1])
def test_same_seed_same_search(kind, seed):
    _, _, one = run(seed, algorithm=kind)
    random.seed(99)
    _, _, two = run(seed, algorithm=kind)
    assert [(c, r) for c, r, _ in one] == [(c, r) for c, r, _ in two]
    _, _, other = run(seed + 1, algorithm=kind)
    assert [c.metric for c, _, _ in one] != [c.metric for c, _, _ in other]


def test_same_search_in_another_process_with_another_hash_seed():
    code = (
        "from tests.search.test_search import run\n"
        "print([(str(c.metric), c.operation, c.parents) for c, _, _ in run(0)[2]])"
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
    assert len(outputs) == 1


def test_population_keeps_the_best_with_distinct_masks():
    algorithm, _, seen = run(3)
    assert len(seen) == 70
    assert all(size <= 10 for _, _, size in seen)
    digests = [m.digest for m in algorithm.population]
    assert len(set(digests)) == len(digests)
    values = sorted({(r.digest, r.perplexity) for _, r, _ in seen if r.digest}, key=lambda v: v[1])
    expected = []
    for digest, value in values:
        if digest not in [d for d, _ in expected]:
            expected.append((digest, value))
    best = min(r.perplexity for _, r, _ in seen)
    assert algorithm.best_perplexity == best
    assert landscape(algorithm.best).perplexity == best
    # Steady state never loses what is good enough for the population.
    kept = sorted(m.fitness.values[0] for m in algorithm.population)
    assert kept == [value for _, value in expected[: len(kept)]]


def test_genealogy_points_to_earlier_candidates():
    _, _, seen = run(1)
    made = {c.number: c for c, _, _ in seen}
    for candidate in made.values():
        assert all(parent < candidate.number for parent in candidate.parents)
        if candidate.number <= 10:
            assert (candidate.operation, candidate.generation) == ("random", 0)
        else:
            assert candidate.parents
            assert candidate.generation == (candidate.number - 1) // 10


def test_offspring_are_simplified_before_evaluation_and_written_back():
    _, _, seen = run(2)
    assert any(c.raw != c.metric for c, _, _ in seen)
    for candidate, _, _ in seen:
        assert candidate.metric == simplify(candidate.raw, None)
        assert len(candidate.individual) == candidate.metric.size


def test_seeds_open_the_population():
    _, _, seen = run(0, seeds=["wanda", "mul(W, G)", "W"])
    made = [(c.operation, str(c.raw)) for c, _, _ in seen[:4]]
    assert made[:3] == [("seed", "mul(W, sqrt(X))"), ("seed", "mul(W, G)"), ("seed", "W")]
    assert made[3][0] == "random"


def test_budgets():
    _, progress, _ = run(generations=0)
    assert (progress.candidates, progress.stopped) == (10, "all generations done")
    _, progress, _ = run(evaluations=7)
    assert (progress.evaluations, progress.stopped) == (7, "evaluation budget spent")
    _, progress, seen = run(minutes=1e-9)
    assert (len(seen), progress.stopped) == (1, "time budget spent")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "stedy_state"}, "did you mean 'steady_state'"),
        ({"population_size": 1}, "population_size must be at least 2"),
        ({"seeds": ["wnda"]}, "did you mean 'wanda'"),
        ({"seeds": ["mul(W"]}, "position 6"),
        ({"seeds": ["W"] * 11}, "more than search.population_size"),
        ({"pool_ratio": 0.0}, "pool_ratio must lie in"),
        ({"evaluations": 0}, "evaluations must be at least 1"),
        ({"minutes": 0.0}, "minutes must be above 0"),
        ({"variation": VariationConfig(max_depth=9)}, "min_depth <= max_depth <= depth_limit"),
        ({"variation": VariationConfig(mutation_probability=2)}, "must lie in [0, 1]"),
    ],
)
def test_impossible_settings_are_refused_early(settings, message):
    with pytest.raises(UserError) as error:
        run(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize("kind", ["steady_state", "random"])
@pytest.mark.parametrize("stop_at", [1, 9, 10, 11, 25, 69])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, kind, stop_at):
    whole = RunFolder(tmp_path / "whole")
    whole.begin("")
    run(4, whole, algorithm=kind)

    count = 0

    def interrupted(candidate):
        nonlocal count
        count += 1
        if count == stop_at:
            raise KeyboardInterrupt
        return fitness(candidate)

    folder = RunFolder(tmp_path / "parts")
    folder.begin("")
    _, progress, _ = run(4, folder, interrupted, algorithm=kind)
    assert progress.stopped == "interrupted"
    with folder.log.open("a") as stream:
        stream.write('{"evaluation": 999, "cut sho')  # as a kill leaves it
    algorithm = make_algorithm(
        SearchConfig(population_size=10, generations=6, algorithm=kind), 4, simplify
    )
    saved = folder.resume()
    if saved:
        algorithm.restore(saved[0])
    run_search(algorithm, fitness, folder)
    for name in ("evaluations.jsonl", "checkpoint.json", "hall_of_fame.json", "best_metric.json"):
        assert (folder.path / name).read_text() == (whole.path / name).read_text(), name


def test_run_folder_errors(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=r"holds no run to resume"):
        folder.resume()
    folder.begin("")
    with pytest.raises(UserError, match=r"already holds a run"):
        folder.begin("")
    run(0, folder, generations=0)
    saved = json.loads(folder.checkpoint.read_text())
    folder.checkpoint.write_text(json.dumps({**saved, "version": 99}))
    with pytest.raises(UserError, match=r"version 99"):
        folder.resume()
