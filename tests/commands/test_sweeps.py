"""Sweeps: the launchers, what jobs share, going on with a sweep, sweeps kept as files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pruner_zero.__main__ import main
from pruner_zero.commands.launch import check_overrides
from pruner_zero.errors import UserError
from pruner_zero.search.worker import FitnessWorker

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def run(*arguments: str) -> int:
    return main(["search", "-m", *arguments])


def quick(tiny_arguments: list[str], sweep: Path) -> list[str]:
    return [*tiny_arguments[:-1], f"hydra.sweep.dir={sweep}", "search.generations=1",
            "test.baselines=[]", "search.population_size=4"]  # fmt: skip


def course(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").open()]
    drop = ("seconds", "tokens", "known_by")
    return [{k: v for k, v in line.items() if k not in drop} for line in lines]


def test_a_stopped_sweep_says_how_the_whole_of_it_goes_on(
    tiny_arguments, tmp_path, capsys, monkeypatch
):
    def stopped(*_given, **_settings):
        raise KeyboardInterrupt

    sweep = tmp_path / "sweep"
    with monkeypatch.context() as patch:
        patch.setattr("pruner_zero.commands.search.validate", stopped)
        assert run(*quick(tiny_arguments, sweep), "seed=1,2") == 130
    printed = capsys.readouterr().out
    assert f"continue with the same command and resume={sweep / '0'}" in printed
    line = printed.splitlines()[-1]
    assert line.endswith(f"same command and hydra.sweep.dir={sweep} resume=auto")
    assert run(*quick(tiny_arguments, sweep), "seed=1,2", "resume=auto") == 0
    assert "resumed after candidate" in capsys.readouterr().out


def test_a_cluster_that_is_not_there_is_said(tiny_arguments, tmp_path, capsys, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setattr("pruner_zero.commands.launch.which", lambda _name: None)
    sweep = tmp_path / "sweep"
    assert run(*quick(tiny_arguments, sweep), "seed=1,2", "hydra/launcher=submitit_slurm") == 2
    error = capsys.readouterr().err
    assert "there is no SLURM here" in error and error.count("\n") == 1
    assert not sweep.exists()


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_of_one_seed_side_by_side_measure_once_and_share_the_ledger(
    tiny_arguments, tmp_path, launcher
):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    sweep, serial = tmp_path / "sweep", tmp_path / "serial"
    swept = ["search.mutation_probability=0.1,0.9", f"hydra/launcher={launcher}"]
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    command = [sys.executable, "-m", "pruner_zero", "search", "-m",
               *quick(tiny_arguments, sweep), *swept, *more]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"report of 2 runs  {sweep / 'report.html'}" in done.stdout
    logs = sorted(sweep.rglob("*_log.out"))
    printed = done.stdout + "".join(log.read_text() for log in logs)
    assert len(re.findall("measuring gradient", printed)) == 1
    assert len(list((tmp_path / "cache" / "statistics").glob("*.safetensors"))) == 1
    assert run(*quick(tiny_arguments, serial), swept[0]) == 0
    for job in ("0", "1"):
        assert course(sweep / job) == course(serial / job)
        counts = json.loads((serial / job / "results.json").read_text())["search"]
        assert counts["tokens_computed"] == 0 < counts["tokens"], "the ledger has it all"


def test_a_sweep_ends_with_its_page(tiny_arguments, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    assert run(*quick(tiny_arguments, sweep), "seed=1,2") == 0
    page = sweep / "report.html"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"report of 2 runs  {page}  (open it in a browser; it needs no network)"
    written = page.read_text()
    page.unlink()
    assert main(["report", str(sweep)]) == 0
    assert page.read_text() == written


def test_a_sweep_whose_page_fails_has_its_runs(tiny_arguments, tmp_path, capsys, monkeypatch):
    def broken(_paths):
        raise RuntimeError("no ink")

    monkeypatch.setattr("pruner_zero.commands.report.find_runs", broken)
    sweep = tmp_path / "sweep"
    assert run(*quick(tiny_arguments, sweep), "seed=1") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "warning: no report of the sweep was made (RuntimeError: no ink); "
        f"pruner-zero report {sweep} tries again"
    )
    assert (sweep / "0" / "results.json").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sparsity=0.5,1.5", "sparsity 1.5"),
        ("seed=1,x", "seed=x: Value 'x'"),
        ("search=steady_state,stedy", "no search config is called 'stedy'"),
    ],
)
def test_every_value_is_checked_before_the_first_job(
    tiny_arguments, tmp_path, capsys, setting, message
):
    sweep = tmp_path / "sweep"
    assert run(*quick(tiny_arguments, sweep), "search.population_size=4,6", setting) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not sweep.exists()


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_sweep_goes_on_after_a_job_that_fails_and_says_so_at_its_end(
    tiny_arguments, tmp_path, capsys, launcher
):
    if launcher != "basic":
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    sweep = tmp_path / "sweep"
    swept = [*quick(tiny_arguments, sweep), f"hydra/launcher={launcher}"]
    assert run(*swept, "validation.windows=100000,1,2") == 2
    printed = capsys.readouterr()
    *early, last = printed.err.splitlines()
    assert last.startswith("error: job 0 failed: files, validation split: the text has")
    assert "validation.length" in last
    assert early == ([last.replace("job 0 failed: ", "")] if launcher == "basic" else [])
    assert f"report of 2 runs  {sweep / 'report.html'}" in printed.out
    hint = "the whole sweep goes on with the same command and hydra.sweep.dir="
    assert printed.out.splitlines()[-1] == f"{hint}{sweep} resume=auto"
    assert (sweep / "1" / "results.json").exists() and not (sweep / "0").exists()
    # The same command with nothing wrong: what is done stays, and nothing has failed any more.
    assert run(*swept, "validation.windows=3,1,2", "resume=auto") == 0
    assert (sweep / "0" / "results.json").exists()
    assert "error" not in capsys.readouterr().err


def test_a_sweep_whose_jobs_all_fail_has_no_page(tiny_arguments, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    assert run(*quick(tiny_arguments, sweep), "validation.windows=100000,200000") == 2
    printed = capsys.readouterr()
    assert [line.partition(": files")[0] for line in printed.err.splitlines()[2:]] == [
        "error: job 0 failed", "error: job 1 failed"
    ]  # fmt: skip
    assert all("validation.length" in line for line in printed.err.splitlines())
    assert "report" not in printed.out and not (sweep / "report.html").exists()


def test_a_serial_sweep_ends_with_the_device_that_it_lost(
    tiny_arguments, tmp_path, capsys, monkeypatch
):
    def lose(*_arguments):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nSearch for …")

    sweep = tmp_path / "sweep"
    with monkeypatch.context() as patch:
        patch.setattr(FitnessWorker, "compute", lose)
        assert run(*quick(tiny_arguments, sweep), "seed=1,2") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: the device failed") and printed.err.count("\n") == 1
    assert printed.out.splitlines()[-1].endswith(f"and hydra.sweep.dir={sweep} resume=auto")
    assert not (sweep / "1").exists()
    assert run(*quick(tiny_arguments, sweep), "seed=1,2", "resume=auto") == 0
    assert (sweep / "1" / "results.json").exists()


def test_an_interrupted_sweep_goes_on(tiny_arguments, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    settings = [*quick(tiny_arguments, sweep), "resume=auto"]
    assert run(*settings, "seed=1") == 0
    before = (sweep / "0" / "results.json").read_text()
    capsys.readouterr()
    assert run(*settings, "seed=1,2") == 0
    assert f"{sweep / '0'} is finished already" in capsys.readouterr().out
    assert (sweep / "0" / "results.json").read_text() == before
    assert (sweep / "1" / "results.json").exists()
    assert run(*settings, "seed=3") == 2
    assert "already holds a run with other values of seed: choose" in capsys.readouterr().err


def test_the_sweep_over_population_and_mutation_is_a_file():
    check_overrides("search", ["+sweeps=population_mutation"], str(EXPERIMENTS))
    config = OmegaConf.load(EXPERIMENTS / "sweeps" / "population_mutation.yaml")
    assert config.hydra.sweeper.params == {
        "search.population_size": "20,50,100",
        "search.mutation_probability": "0.1,0.3,0.5",
        "seed": "1,2,3",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra/launcher=jobli"], "no launcher is called 'jobli': did you mean 'joblib'?"),
        (["--config-dir", "nowhere"], "--config-dir nowhere is no folder"),
        (
            ["--config-dir", str(EXPERIMENTS), "+sweeps=population_mutatio"],
            "did you mean 'population_mutation'?",
        ),
        (["--config-dir", str(EXPERIMENTS), "+sweeps=population_mutation", "sede=1"], "'seed'"),
        (["--cfg", "job"], "-m runs a sweep and --cfg prints one configuration"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert run(*arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert message in printed


@pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_ray_launcher") is not None, reason="it is installed"
)
def test_a_launcher_that_is_not_installed_is_named_with_its_extra():
    with pytest.raises(UserError, match=r"pip install 'pruner-zero\[ray-launcher\]'"):
        check_overrides("search", ["hydra/launcher=ray"])
