"""The pool without an engine: order, retries, replacements, what workers hear."""

from __future__ import annotations

import itertools

import pytest

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.provenance import provenance
from pruner_zero.search.algorithms import make_algorithm
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.driver import run_search
from pruner_zero.search.flight import Flight
from pruner_zero.search.workers.cluster import WorkerLost
from pruner_zero.search.workers.pool import PATIENCE, WorkerPool
from pruner_zero.search.workers.remote import RemoteWorker
from tests.search.landscapes import simplify

WANDA, MAGNITUDE = Metric.named("wanda"), Metric.named("magnitude")


class FakeCluster:
    """Workers in this process, whose work ends in a scripted order and may be lost.

    Args:
        kit: of the workers.
        lost: numbers of the given candidates, from 1 in the order of handing out, that cost their
            worker its life.
        last_first: the work that was given last ends first.
        facts: what workers say of themselves instead of the truth.
    """

    def __init__(self, kit, lost=(), last_first=False, facts=None):
        self.kit, self.lost, self.last_first, self.facts = kit, set(lost), last_first, facts
        self.numbers, self.given = itertools.count(), itertools.count(1)
        self.results, self.stopped, self.work = {}, [], []

    def start(self):
        number = next(self.numbers)
        ticket = f"start {number}"
        self.results[ticket] = self.facts or provenance()
        return (number, RemoteWorker(self.kit, "cpu", 1)), ticket

    def compute(self, worker, metric, scope, rival, told):
        number = next(self.given)
        self.work.append((worker[0], str(metric), [text for text, _, _ in told]))
        if number in self.lost:
            self.results[f"work {number}"] = WorkerLost("killed")
        else:
            self.results[f"work {number}"] = worker[1].compute(metric, scope, rival, told)
        return f"work {number}"

    def wait(self, tickets, seconds):
        if seconds == 0 and not self.facts:
            return [ticket for ticket in tickets if ticket.startswith("start")]
        return sorted(tickets, key=lambda t: int(t.split()[1]), reverse=self.last_first)[:1]

    def collect(self, ticket):
        result = self.results.pop(ticket)
        if isinstance(result, WorkerLost):
            raise result
        return result

    def stop(self, worker):
        self.stopped.append(worker[0])


def pool_of(fitness, cluster, count=2, say=print, ledger=None):
    books = fitness(ledger)
    return WorkerPool(books, [books], cluster, count, say)


def search(evaluator, depth, seed=0):
    algorithm = make_algorithm(SearchConfig(population_size=6, generations=4), seed, simplify)
    seen = []
    run_search(
        algorithm,
        evaluator,
        observer=lambda a, c, r, p: seen.append(
            {**c.record(r), "seconds": 0, "tokens": 0, "number": c.number}
        ),
        put_last=False,
        flight=Flight(depth),
    )
    return seen


@pytest.mark.parametrize(
    ("workers", "depth", "last_first"),
    [(1, 1, False), (2, 2, False), (2, 4, True), (3, 4, True)],
)
def test_a_search_is_the_serial_one_of_the_same_depth(fitness, kit, workers, depth, last_first):
    cluster = FakeCluster(kit, last_first=last_first)
    expected = search(fitness(), depth)
    assert any(r["known_by"] == "digest" for r in expected)
    assert any(not r["complete"] for r in expected)
    assert search(pool_of(fitness, cluster, workers), depth) == expected
    assert len({worker for worker, _, _ in cluster.work}) == workers


def test_a_lost_worker_is_replaced_and_nothing_of_the_search_is(fitness, kit):
    said = []
    cluster = FakeCluster(kit, lost=[1, 7, 12], last_first=True)
    assert search(pool_of(fitness, cluster, 2, said.append), 4) == search(fitness(), 4)
    assert said == ["a worker was lost (killed): its candidate goes to another one"] * 3
    assert len(cluster.stopped) == 3 and next(cluster.numbers) == 5
    tried = [worker for worker, metric, _ in cluster.work if metric == cluster.work[0][1]]
    assert len(set(tried[:2])) == 2, "tried again by another worker"


def test_a_candidate_that_costs_two_workers_is_recorded_as_failed(fitness, kit):
    cluster = FakeCluster(kit, lost=[2, 3])
    seen = search(pool_of(fitness, cluster, 1), 1)
    assert len(seen) == 30
    failed = [record for record in seen if record["reason"] == "lost 2 workers: killed"]
    assert [(record["number"], record["perplexity"]) for record in failed] == [(2, None)]


def test_when_all_workers_are_lost_the_search_stops_and_can_go_on(fitness, kit):
    cluster = FakeCluster(kit, lost=range(4, 1000))
    with pytest.raises(UserError, match=rf"{PATIENCE} workers were lost in a row.*resume=auto"):
        search(pool_of(fitness, cluster), 2)


def test_a_worker_that_cannot_start_stops_the_search(fitness, kit):
    cluster = FakeCluster(kit)
    pool = pool_of(fitness, cluster, 1)
    cluster.results["start 0"] = WorkerLost("no memory")
    with pytest.raises(UserError, match=r"a worker could not start: no memory.*resume=auto"):
        pool.await_first(1)


def test_other_versions_are_refused(fitness, kit):
    pool = pool_of(fitness, FakeCluster(kit, facts={**provenance(), "torch": "1.0"}))
    with pytest.raises(UserError, match=r"a worker has torch 1.0, this machine"):
        pool.await_first(1)


def test_no_worker_in_time(fitness, kit, monkeypatch):
    cluster = FakeCluster(kit)
    pool = pool_of(fitness, cluster)
    monkeypatch.setattr(cluster, "wait", lambda tickets, seconds: [])
    with pytest.raises(UserError, match="no worker got ready in 1 s"):
        pool.await_first(1)


def test_workers_hear_what_was_told_once_and_a_new_one_hears_all(fitness, kit):
    cluster = FakeCluster(kit, lost=[3])
    pool = pool_of(fitness, cluster, 1)
    for text in ("W", "G", "X", "mul(W, G)"):
        pool.evaluate(Metric.parse(text))
    heard = [(worker, told) for worker, _, told in cluster.work]
    assert heard == [(0, []), (0, ["W"]), (0, ["G"]), (1, ["W", "G"]), (1, ["X"])]


def test_a_resumed_pool_knows_what_the_log_knows(fitness, kit):
    record = {"simplified": "W", "scope": None, **fitness().evaluate(MAGNITUDE).record()}
    cluster = FakeCluster(kit)
    pool = pool_of(fitness, cluster, 1)
    pool.remember(record)
    result = pool.evaluate(Metric.parse("sqr(W)"))
    assert (result.known_by, result.cost, result.tokens) == ("digest", 0, 0)
    assert pool.looks_known(MAGNITUDE, None) and not pool.looks_known(WANDA, None)
    assert pool.full_tokens == fitness().full_tokens


def test_what_workers_find_is_kept_in_the_ledger(fitness, kit, parts, tmp_path):
    books = fitness("ledger")
    cluster = FakeCluster(type(kit).of([books]))
    pool = WorkerPool(books, [books], cluster, 1, print)
    found = pool.evaluate(WANDA)
    again = fitness("ledger").compute(WANDA)
    assert (again.known_by, again.losses) == ("ledger", found.losses)
