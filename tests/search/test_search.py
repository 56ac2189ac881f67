"""The loop around an algorithm: budgets, records, the run folder, resume."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from pruner_zero.errors import UserError
from pruner_zero.search.algorithms import make_algorithm
from pruner_zero.search.config import ALGORITHMS, SearchConfig
from pruner_zero.search.driver import run_search
from pruner_zero.search.run_folder import RunFolder
from tests.search.landscapes import Landscape, landscape, simplify


def run(seed=0, folder=None, evaluator=None, **settings):
    config = SearchConfig(**{"population_size": 10, "generations": 6, **settings})
    algorithm = make_algorithm(config, seed, simplify)
    seen = []
    progress = run_search(
        algorithm,
        evaluator or Landscape(),
        folder,
        lambda a, c, r, p: seen.append((c, r, len(a.population))),
    )
    return algorithm, progress, seen


def test_a_search_whose_budget_is_spent_already_still_counts_what_was_refused():
    algorithm, progress, _ = run(generations=1)
    algorithm.refused = 7
    assert progress.stopped == run_search(algorithm, Landscape()).stopped == "all generations done"
    assert run_search(algorithm, Landscape()).refused == 7


@pytest.mark.parametrize(
    ("results", "hall", "message"),
    [
        ("{", None, "(results.json: damaged or of another version): name the formula instead"),
        ('{"winner": 1}', "[", "results.json and hall_of_fame.json: damaged"),
        (None, "[[1]]", "(hall_of_fame.json: damaged"),
        (None, "[]", "holds no metric: not a search that found one"),
        (None, None, "holds no metric: not a search that found one"),
    ],
)
def test_a_best_metric_that_cannot_be_read_is_one_line(tmp_path, results, hall, message):
    folder = RunFolder(tmp_path)
    for path, text in ((folder.results, results), (folder.hall_of_fame, hall)):
        if text is not None:
            path.write_text(text)
    with pytest.raises(UserError) as error:
        folder.best_metric()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_best_metric_survives_damaged_results(tmp_path):
    folder = RunFolder(tmp_path)
    folder.results.write_text("{")
    folder.hall_of_fame.write_text('[{"expression": "mul(W, X)", "scope": "layer"}]')
    metric, scope = folder.best_metric()
    assert (str(metric), scope) == ("mul(W, X)", "layer")


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
    algorithm, progress, _ = run(generations=1000, stagnation=40)
    assert progress.stopped == "no better metric in 40 candidates"
    assert algorithm.since_best == 40


@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("stop_at", [1, 9, 10, 11, 25, 69])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, kind, stop_at):
    whole = RunFolder(tmp_path / "whole")
    whole.begin("")
    run(4, whole, algorithm=kind)

    folder = RunFolder(tmp_path / "parts")
    folder.begin("")
    _, progress, _ = run(4, folder, Landscape(interrupt_at=stop_at), algorithm=kind)
    assert progress.stopped == "interrupted"
    with folder.log.open("a") as stream:
        stream.write('{"evaluation": 999, "cut sho')  # as a kill leaves it
    algorithm = make_algorithm(
        SearchConfig(population_size=10, generations=6, algorithm=kind), 4, simplify
    )
    saved = folder.resume()
    if saved:
        algorithm.restore(saved[0])
    run_search(algorithm, Landscape(), folder)
    for name in ("evaluations.jsonl", "checkpoint.json", "hall_of_fame.json", "best_metric.json"):
        assert (folder.path / name).read_text() == (whole.path / name).read_text(), name


def in_child(work, seconds):
    """Run a function in a forked process and kill it after some time; whether it was at work."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_kills_at_many_random_instants_change_nothing(tmp_path, kind):
    settings = {"population_size": 10, "generations": 12, "algorithm": kind}

    def go_on(folder):
        algorithm = make_algorithm(SearchConfig(**settings), 7, simplify)
        if folder.config.exists():
            saved = folder.resume()
            if saved:
                algorithm.restore(saved[0])
        else:
            folder.begin("")
        run_search(algorithm, Landscape(), folder)

    whole = RunFolder(tmp_path / "whole")
    began = time.monotonic()
    go_on(whole)
    long = time.monotonic() - began
    generator = random.Random(0)
    kills = 0
    folder = RunFolder(tmp_path / "parts")
    while in_child(lambda: go_on(RunFolder(folder.path)), generator.random() * long / 4):
        kills += 1
    assert kills >= 3
    for name in ("evaluations.jsonl", "checkpoint.json", "hall_of_fame.json", "best_metric.json"):
        assert (folder.path / name).read_text() == (whole.path / name).read_text(), name


@pytest.mark.parametrize("stage", ["log", "checkpoint"])
def test_a_full_disk_stops_cleanly_and_the_run_goes_on(tmp_path, monkeypatch, stage):
    whole, folder = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "full")
    whole.begin("")
    run(4, whole)
    folder.begin("")
    fsync, count = os.fsync, 0

    def full(handle):
        nonlocal count
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        count += name.endswith(".jsonl") if stage == "log" else "checkpoint" in name
        if count == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*resume="):
        run(4, folder)
    monkeypatch.undo()
    algorithm = make_algorithm(SearchConfig(population_size=10, generations=6), 4, simplify)
    saved = folder.resume()
    assert saved is not None and saved[0]["told"] == 19
    algorithm.restore(saved[0])
    run_search(algorithm, Landscape(), folder)
    for name in ("evaluations.jsonl", "checkpoint.json", "hall_of_fame.json", "best_metric.json"):
        assert (folder.path / name).read_text() == (whole.path / name).read_text(), name
    assert not list(folder.path.glob(".*.part"))


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
    folder.checkpoint.write_text("{")
    with pytest.raises(UserError, match=r"is damaged"):
        folder.resume()
