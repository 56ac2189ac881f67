"""Real Ray actors on CPUs: the serial search, also when one of them is killed."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.search.workers.config import WorkersConfig
from pruner_zero.search.workers.pool import WorkerPool
from tests.search.workers.test_pool import search

pytest.importorskip("ray", reason="Ray is an extra: pip install 'pruner-zero[ray]'")

from pruner_zero.search.workers.ray_cluster import ray_cluster


@pytest.fixture(scope="module")
def cluster(kit):
    # As many threads as the serial search has: the last bits of sums depend on their number.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = WorkersConfig(kind="ray", count=2, cpus=1)
    with ray_cluster(config, kit, torch.device("cpu")) as cluster:
        yield cluster
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def facts(cluster):
    """What every worker said of itself when it was ready."""
    said = []
    collect = cluster.collect

    def noting(ticket):
        result = collect(ticket)
        if isinstance(result, dict):
            said.append(result)
        return result

    cluster.collect = noting
    return said


@pytest.fixture
def hire(fitness, cluster):
    """Starts a pool of so many workers; they leave when the test ends."""

    def start(count, say=print):
        books = fitness()
        return WorkerPool(books, [books], cluster, count, say)

    yield start
    cluster.close()


def test_two_workers_one_killed_are_the_serial_search_of_the_same_depth(fitness, hire, facts):
    said = []
    pool = hire(2, said.append)
    pool.await_first(60)
    evaluate, turns = pool.evaluate, 0

    def killing(*arguments):
        nonlocal turns
        turns += 1
        if turns == 10:
            os.kill(facts[0]["pid"], signal.SIGKILL)
        return evaluate(*arguments)

    pool.evaluate = killing
    assert search(pool, 2) == search(fitness(), 2)
    assert turns == 30
    (line,) = said
    assert "goes to another one" in line and "\n" not in line
    assert facts[0]["pid"] not in {each["pid"] for each in facts[1:]}


def test_one_worker_is_the_serial_search(fitness, hire):
    assert search(hire(1), 1) == search(fitness(), 1)


def test_a_worker_that_cannot_be_built_says_why(hire, cluster, monkeypatch):
    monkeypatch.setattr(cluster, "device", "cuda:99")
    with pytest.raises(UserError, match=r"a worker could not start: .*CUDA") as error:
        hire(1).await_first(60)
    assert "\n" not in str(error.value)
