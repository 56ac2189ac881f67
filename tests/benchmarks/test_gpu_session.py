"""The session script with an interpreter that only notes what it is asked to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pruner_zero.commands.launch import check_overrides
from pruner_zero.commands.schema import register_schemas

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_session.sh"
STEPS = ("cuda_tests", "bench_smollm2", "bench_7b", "bench_7b_341k", "search_50", "search_24")
STUB = """\
#!/usr/bin/env bash
# An interpreter: notes its arguments, is of version 3.12, and fails at what FAILING names.
echo "$*" >>"$NOTES"
case "$*" in
    *version_info*) echo 3.12 ;;
    *"${FAILING:-nothing}"*) echo broken; exit 3 ;;
esac
"""


class Session:
    """A machine on which the script runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.notes = folder / "notes"
        self.python = folder / "python"
        self.python.write_text(STUB)
        self.python.chmod(0o755)

    def run(
        self, *options: str, script: Path = SCRIPT, failing: str = "nothing"
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PYTHON": self.python, "NOTES": self.notes, "FAILING": failing}
        return subprocess.run(
            [str(script), *options, str(self.results)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        )

    @property
    def summary(self) -> list[str]:
        return (self.results / "summary.txt").read_text().splitlines()

    @property
    def asked(self) -> list[str]:
        return self.notes.read_text().splitlines()


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path)


def test_help_is_the_usage_alone(session):
    printed = session.run("--help").stdout
    assert "gpu_session.sh [--cpu-rehearsal] [--steps NAME,NAME] [RESULTS_FOLDER]" in printed
    assert "PYTHON " in printed and "pipefail" not in printed
    assert not session.results.exists()


@pytest.mark.parametrize("options", [(), ("--cpu-rehearsal",)])
def test_every_step_runs_settings_that_exist(session, options):
    ran = session.run(*options)
    assert ran.returncode == 0, ran.stderr
    *steps, whole = session.summary
    assert [line.partition(": status 0, ")[0] for line in steps] == list(STEPS)
    assert whole.startswith("all steps: ")
    register_schemas()
    commands = [line.split()[2:] for line in session.asked if line.startswith("-m pruner_zero ")]
    assert [command for command, *_ in commands] == ["bench"] * 3 + ["search"] * 2
    for command, *overrides in commands:
        check_overrides(command, overrides)
        assert any(str(session.results) in override for override in overrides)
        assert ("device=cpu" if options else "device=cuda") in overrides


def test_a_visit_takes_at_most_ten_minutes(session):
    assert session.run().returncode == 0
    limits = [int(re.search(r"of at most (\d+)$", line)[1]) for line in session.summary[:-1]]
    assert sum(limits) <= 600


def test_a_step_that_fails_is_noted_and_the_others_run(session):
    assert session.run(failing="pruner_zero bench").returncode == 1
    statuses = [re.search(r"status (\d)", line)[1] for line in session.summary[:-1]]
    assert statuses == ["0", "3", "3", "3", "0", "0"]
    assert "broken" in (session.results / "bench_7b.log").read_text()


@pytest.mark.parametrize(
    ("options", "failing", "message"),
    [
        ((), "is_available", "no CUDA device: use --cpu-rehearsal"),
        (("--cpu-rehearsal",), "import torch", "has no torch: set PYTHON, or build the kit with"),
    ],
)
def test_what_is_missing_is_said_before_any_step(session, options, failing, message):
    ran = session.run(*options, failing=failing)
    assert ran.returncode == 2 and message in ran.stderr
    assert not (session.results / "summary.txt").exists()


def test_results_are_not_mixed_with_others(session):
    session.results.mkdir()
    (session.results / "summary.txt").touch()
    ran = session.run("--cpu-rehearsal")
    assert ran.returncode == 2 and "already holds results" in ran.stderr


def test_a_visit_may_come_in_parts(session):
    assert session.run("--steps", "bench_7b,cuda_tests").returncode == 0
    assert session.run("--steps", "search_24").returncode == 0
    steps = [line.partition(":")[0] for line in session.summary]
    assert steps == ["cuda_tests", "bench_7b", "all steps", "search_24", "all steps"]
    again = session.run("--steps", "search_50,bench_7b")
    assert again.returncode == 2 and "already holds results" in again.stderr
    assert session.run("--steps", "search_50").returncode == 0


@pytest.mark.parametrize("steps", ["bench_70b", "cuda_tests,all", ""])
def test_a_step_that_does_not_exist_is_refused(session, steps):
    ran = session.run("--steps", steps)
    assert ran.returncode == 2 and "choose from cuda_tests bench_smollm2" in ran.stderr
    assert not session.results.exists()


@pytest.fixture
def kit(tmp_path):
    """An unpacked kit, with the script alone as its source."""
    folder = tmp_path / "kit"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "a.whl").touch()
    (folder / "source" / "benchmarks").mkdir(parents=True)
    (folder / "python-version").write_text("3.12\n")
    (folder / "commit").write_text("0123abc\n")
    shutil.copy2(SCRIPT, folder / "source" / "benchmarks")
    return folder


def test_from_a_kit_wheels_are_installed_once_and_without_an_index(session, kit):
    script = kit / "source" / "benchmarks" / SCRIPT.name
    (kit / "site").mkdir()  # pip would make it
    assert session.run("--cpu-rehearsal", script=script).returncode == 0
    (install,) = [line for line in session.asked if line.startswith("-m pip install")]
    assert "--no-index --no-deps" in install and str(kit / "wheels" / "a.whl") in install
    assert "0123abc" in (session.results / "machine.txt").read_text()
    shutil.rmtree(session.results)
    assert session.run("--cpu-rehearsal", script=script).returncode == 0
    assert sum(line.startswith("-m pip install") for line in session.asked) == 1


def test_a_kit_for_another_python_is_refused(session, kit):
    (kit / "python-version").write_text("3.13\n")
    script = kit / "source" / "benchmarks" / SCRIPT.name
    ran = session.run("--cpu-rehearsal", script=script)
    assert ran.returncode == 2
    assert "the kit is for Python 3.13 and" in ran.stderr and "PYTHON_VERSION=3.12" in ran.stderr
