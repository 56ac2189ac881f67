"""Searches with workers from outside: mistakes in one line, Ctrl-C, going on with other workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from pruner_zero.__main__ import main
from pruner_zero.search.worker import FitnessWorker


def run(*arguments: str) -> int:
    return main(["search", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["workers=rai"], "no workers config is called 'rai': did you mean 'ray'?"),
        (["workers.count=2"], "workers.count is for workers=ray"),
        (["workers=ray", "workers.count=1000"], "workers.count=1000 with 1 CPUs each is more than"),
        (["workers=ray", "workers.cpus=1000"], "lower workers.count or workers.cpus"),
        (["workers=ray", "workers.gpus=1"], "does not fit a run on the CPU"),
        (["workers=ray", "workers.address=127.0.0.1:9"], "no Ray cluster at workers.address="),
        (["workers=ray", "workers.address=ray://127.0.0.1:9"], "start one with ray start --head"),
        (["workers.in_flight=0"], "workers.in_flight must be at least 1"),
    ],
)
def test_mistakes_are_one_line_before_anything_loads(capsys, monkeypatch, arguments, message):
    def must_not_load(*_args, **_settings):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)
    assert run("device=cpu", *arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_ray_that_is_not_installed_is_named_with_its_extra(capsys, monkeypatch):
    monkeypatch.setattr("pruner_zero.commands.workers.find_spec", lambda name: None)
    assert run("workers=ray") == 2
    assert "pip install 'pruner-zero[ray]'" in capsys.readouterr().err


def test_no_cluster_to_be_found_is_one_line(tiny_arguments, tmp_path, capsys, monkeypatch):
    pytest.importorskip("ray", reason="Ray is an extra")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray_folder"))
    assert run(*tiny_arguments, "workers=ray", "workers.address=auto") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: no Ray cluster at workers.address=auto")
    assert printed.count("\n") == 1
    assert not (tmp_path / "run").exists(), "nothing was begun"


def test_a_cluster_that_has_ended_is_one_line(capsys, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is an extra")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    assert run("workers=ray", "workers.address=auto") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: no Ray cluster at workers.address=auto (127.0.0.1:9: ")
    assert printed.count("\n") == 1


def test_a_search_in_this_process_imports_no_ray(tiny_arguments):
    code = (
        "import sys; from pruner_zero.__main__ import main; status = main(sys.argv[1:]);"
        "sys.exit(status or 'ray' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "search", *tiny_arguments, "search.generations=0"]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


def course(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").open()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "tokens")} for line in lines]


def test_a_device_that_is_lost_in_mid_run_is_one_line_and_the_search_goes_on(
    tiny_arguments, tmp_path, capsys, monkeypatch
):
    settings = [*tiny_arguments, "ledger=off"]
    compute, turns = FitnessWorker.compute, 0

    def lose(*arguments):
        nonlocal turns
        turns += 1
        if turns > 5:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure\nSearch for …")
        return compute(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FitnessWorker, "compute", lose)
        assert run(*settings) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: the device failed (CUDA error: unspecified launch failure)")
    assert "resume=auto" in printed and printed.count("\n") == 1
    assert len(course(tmp_path / "run")) == 5
    assert run(*settings, "resume=auto") == 0
    settings[settings.index(f"hydra.run.dir={tmp_path / 'run'}")] = (
        f"hydra.run.dir={tmp_path / 'whole'}"
    )
    assert run(*settings) == 0
    assert course(tmp_path / "run") == course(tmp_path / "whole")


def test_interrupted_with_ray_workers_and_continued_without_them(tiny_arguments, tmp_path):
    pytest.importorskip("ray", reason="Ray is an extra")
    folder, whole = tmp_path / "run", tmp_path / "whole"
    settings = [*tiny_arguments, "ledger=off", "fitness.racing.rungs=[1]"]
    ray = ["workers=ray", "workers.count=2", "workers.cpus=1", "search.generations=5000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pruner_zero", "search", *settings, *ray],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    log = folder / "evaluations.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 12):
        time.sleep(0.05)
    others = psutil.Process(process.pid).children(recursive=True)
    assert any("ray" in other.name() for other in others)
    # A terminal sends Ctrl-C to all processes of the command.
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"resume={folder}" in printed and "Traceback" not in printed
    _, alive = psutil.wait_procs(others, timeout=30)
    assert not alive, "no process is left"

    begun = len(course(folder))
    assert 12 < begun < 160, "the search is short enough to be continued here"
    assert run(*settings, "search.generations=19", f"resume={folder}") == 0
    settings[settings.index(f"hydra.run.dir={folder}")] = f"hydra.run.dir={whole}"
    assert run(*settings, "search.generations=19", "workers.in_flight=4") == 0
    assert course(folder) == course(whole)
    for name in ("hall_of_fame.json", "checkpoint.json"):
        assert (folder / name).read_text() == (whole / name).read_text()


def test_candidates_in_flight_belong_to_the_run(tiny_arguments, tmp_path, capsys):
    assert run(*tiny_arguments, "workers.in_flight=3", "search.generations=1") == 0
    assert "in_flight: 3" in (tmp_path / "run" / "config.yaml").read_text()
    capsys.readouterr()
    resume = f"resume={tmp_path / 'run'}"
    assert run(*tiny_arguments, "workers.in_flight=2", resume) == 2
    assert "other values of workers.in_flight" in capsys.readouterr().err
    assert run(*tiny_arguments, "search.generations=2", resume) == 0
    assert len(course(tmp_path / "run")) == 24
