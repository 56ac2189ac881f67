"""What Ray raises, in the words of the pool and of the user; no cluster is needed."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import OutOfDeviceMemory, UserError
from pruner_zero.search.workers.cluster import WorkerLost

pytest.importorskip("ray", reason="Ray is an extra: pip install 'pruner-zero[ray]'")

from ray import exceptions

from pruner_zero.search.workers import ray_cluster
from pruner_zero.search.workers.config import WorkersConfig


def collect(monkeypatch, error: Exception):
    def get(ticket):
        raise error

    monkeypatch.setattr(ray_cluster.ray, "get", get)
    return ray_cluster.RayCluster.collect(None, "ticket")


def task_error(cause: Exception) -> exceptions.RayTaskError:
    return exceptions.RayTaskError("compute", "Traceback …", cause)


def test_a_lost_device_costs_the_worker(monkeypatch):
    lost = torch.AcceleratorError("CUDA error: device-side assert\nCompile with …")
    with pytest.raises(WorkerLost, match=r"^CUDA error: device-side assert$"):
        collect(monkeypatch, task_error(lost))


@pytest.mark.parametrize("error", [exceptions.RayActorError(), exceptions.WorkerCrashedError(),
                                   exceptions.NodeDiedError("a node is gone")])  # fmt: skip
def test_a_lost_process_or_machine_costs_the_worker(monkeypatch, error):
    with pytest.raises(WorkerLost) as lost:
        collect(monkeypatch, error)
    assert str(lost.value) and "\n" not in str(lost.value)


def test_what_the_user_can_mend_is_passed_on(monkeypatch):
    with pytest.raises(UserError, match="drop the scope"):
        collect(monkeypatch, task_error(UserError("drop the scope")))


@pytest.mark.parametrize(
    "cause",
    [torch.OutOfMemoryError("CUDA out of memory.\nmore"), OutOfDeviceMemory("memory=blockwise")],
)
def test_a_full_device_names_what_workers_can_change(monkeypatch, cause):
    # Blockwise memory, which a search in one process would be told to set, is not for Ray workers.
    with pytest.raises(OutOfDeviceMemory, match=r"larger workers\.gpus.*workers=local memory="):
        collect(monkeypatch, task_error(cause))


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    with pytest.raises(exceptions.RayTaskError):
        collect(monkeypatch, task_error(KeyError("bug")))


def test_a_lost_cluster_is_one_line(monkeypatch):
    with pytest.raises(UserError, match=r"the Ray cluster is gone .*resume=auto"):
        collect(monkeypatch, exceptions.RaySystemError("GCS gone"))


def test_a_machine_on_which_ray_cannot_start_is_one_line(monkeypatch):
    def init(**_settings):
        raise ValueError("not enough memory for the object store\nmore")

    monkeypatch.setattr(ray_cluster.ray, "init", init)
    with pytest.raises(UserError, match=r"^Ray cannot start .*object store\): take workers=local"):
        ray_cluster._connect(WorkersConfig(kind="ray"), 1)


def test_only_the_reason_of_a_long_message_is_kept():
    own = "The actor died because of an error raised in its creation task, \x1b[36mray::A\x1b[39m\n"
    reason = ray_cluster._reason(Exception(own + '  File "a.py"\nRuntimeError: no GPU'))
    assert reason == "RuntimeError: no GPU"
    killed = "The actor died unexpectedly before finishing this task.\n\tpid: 3\nIt is dead."
    assert ray_cluster._reason(Exception(killed)) == killed.partition(".")[0]
    assert ray_cluster._reason(Exception("")) == "Exception"
