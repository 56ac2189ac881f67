"""How a cluster is divided, and what is refused in one line."""

from __future__ import annotations

import socket

import pytest

from pruner_zero.errors import UserError
from pruner_zero.search.workers.config import Shares, WorkersConfig, check_reachable, divide


def shares(machines, cuda=False, **settings):
    return divide(WorkersConfig(kind="ray", **settings), machines, cuda)


@pytest.mark.parametrize(
    ("settings", "machines", "cuda", "expected"),
    [
        ({}, [(16, 8.0), (16, 8.0)], True, Shares(16, 2, 1.0)),
        ({"count": 3}, [(16, 8.0)], True, Shares(3, 5, 1.0)),
        ({"gpus": 0.25}, [(16, 1.0)], True, Shares(4, 4, 0.25)),
        ({"cpus": 1, "gpus": 0.5}, [(16, 1.0), (4, 0.0)], True, Shares(2, 1, 0.5)),
        ({}, [(16, 0.0), (12, 0.0)], False, Shares(2, 12, 0.0)),
        ({"count": 2}, [(8, 0.0)], False, Shares(2, 4, 0.0)),
        ({"count": 3}, [(8, 0.0), (3, 0.0)], False, Shares(3, 3, 0.0)),
        ({"count": 2, "cpus": 1}, [(8, 2.0)], False, Shares(2, 1, 0.0)),
    ],
)
def test_a_cluster_is_divided(settings, machines, cuda, expected):
    assert shares(machines, cuda, **settings) == expected


@pytest.mark.parametrize(
    ("settings", "machines", "cuda", "message"),
    [
        (
            {"count": 3},
            [(8, 2.0)],
            True,
            "count=3 is more than fit on the cluster's 2 GPUs",
        ),
        ({"count": 3, "gpus": 0.5}, [(8, 1.0)], True, "1 GPUs with 2 on each"),
        ({"count": 3}, [(2, 0.0)], False, "3 with 1 CPUs each is more than the cluster's 2 CPUs"),
        ({"count": 2, "cpus": 5}, [(8, 0.0)], False, "lower workers.count or workers.cpus"),
        ({"cpus": 9}, [(8, 1.0)], True, "1 with 9 CPUs each is more than the cluster's 8 CPUs"),
        ({"gpus": 1.0}, [(8, 1.0)], False, "does not fit a run on the CPU"),
        ({"gpus": 0.0}, [(8, 1.0)], True, "does not fit a run on cuda"),
        ({}, [(8, 0.0)], True, "0 places|0 GPUs"),
    ],
)
def test_more_workers_than_places_are_refused(settings, machines, cuda, message):
    with pytest.raises(UserError, match=message):
        shares(machines, cuda, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "rai"}, "did you mean 'ray'"),
        ({"count": 2}, "workers.count is for workers=ray"),
        ({"address": "auto"}, "workers.address is for workers=ray"),
        ({"in_flight": 0}, "workers.in_flight must be at least 1"),
        ({"kind": "ray", "count": 0}, "workers.count must be at least 1"),
        ({"kind": "ray", "gpus": 2.0}, "workers.gpus must be from 0 to 1"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(UserError, match=message):
        WorkersConfig(**settings).check()


def test_one_worker_is_the_serial_search_and_several_have_two_candidates_each():
    assert [WorkersConfig().depth(count) for count in (1, 2, 8)] == [1, 4, 16]
    assert WorkersConfig(in_flight=5).depth(2) == 5


def test_an_address_is_knocked_at_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_reachable(f"127.0.0.1:{port}")
        check_reachable(f"ray://127.0.0.1:{port}")
    check_reachable("auto")
    with pytest.raises(UserError, match=r"no Ray cluster at workers.address=ray://127.0.0.1"):
        check_reachable(f"ray://127.0.0.1:{port}")
    with pytest.raises(UserError, match=r"workers.address=head is none"):
        check_reachable("head")
    for impossible in (".:6379", f"{'x' * 70}:6379", "localhost:123456"):
        with pytest.raises(UserError, match="no Ray cluster at"):
            check_reachable(impossible)
