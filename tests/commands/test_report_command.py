"""The report command and the page that a search leaves, on the tiny model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pruner_zero.__main__ import main
from pruner_zero.commands import report as report_module
from tests.report.folders import results, write_run


def test_search_leaves_its_page_and_the_command_makes_it_again(tiny_arguments, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["search", *tiny_arguments, "search.generations=1"]) == 0
    page = run / "report.html"
    assert f"report        {page}" in capsys.readouterr().out
    first = page.read_text()
    assert "Gaps in what was recorded" not in first
    assert "best of this search" in first and '"format": 2' in (run / "run.json").read_text()
    page.unlink()
    assert main(["report", str(run)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"report of 1 run  {page}") and printed.count("\n") == 1
    assert page.read_text() == first


def test_interrupted_search_leaves_a_page_of_what_it_has(tiny_arguments, tmp_path):
    command = [sys.executable, "-m", "pruner_zero", "search", *tiny_arguments,
               "search.generations=5000"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )
    log = tmp_path / "run" / "evaluations.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in printed
    page = (tmp_path / "run" / "report.html").read_text()
    assert "the search did not end" in page and 'id="expressions"' in page


def test_a_page_that_fails_costs_no_run(tiny_arguments, tmp_path, capsys, monkeypatch):
    def broken(_path):
        raise RuntimeError("no ink")

    monkeypatch.setattr(report_module, "read_run", broken)
    assert main(["search", *tiny_arguments, "search.generations=0"]) == 0
    printed = capsys.readouterr().out
    run = tmp_path / "run"
    assert f"warning: no report.html was made (RuntimeError: no ink); pruner-zero report {run}" in (
        printed
    )
    assert (run / "results.json").exists() and not (run / "report.html").exists()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs and an odd name in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/a"), ended=results(), seed=0)
    write_run(Path("runs/b"), ended=results(50.0), seed=1)
    write_run(Path("runs/o'dd, seed=2"), ended=results(60.0), seed=2)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "page", "count"),
    [
        (["runs/a"], "runs/a/report.html", "1 run"),
        (["runs/a/"], "runs/a/report.html", "1 run"),
        (["runs"], "runs/report.html", "3 runs"),
        (["runs/a", "runs/b"], "report.html", "2 runs"),
        (["runs=[runs/a,runs/b]"], "report.html", "2 runs"),
        (["runs/a", "runs/o'dd, seed=2", "output=both.html"], "both.html", "2 runs"),
        (["output=.", "runs/b"], "report.html", "1 run"),
        (["output=page", "runs/b"], "page.html", "1 run"),
    ],
)
def test_words_and_settings_name_the_same_runs(folders, capsys, arguments, page, count):
    assert main(["report", *arguments]) == 0
    assert capsys.readouterr().out.startswith(f"report of {count}  {page}  ")
    assert (folders / page).read_text().startswith("<!doctype html>")


def test_incomplete_run_says_what_is_missing(folders, capsys):
    (folders / "runs/a/config.yaml").unlink()
    assert main(["report", "runs/a"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "runs/a: config.yaml is missing: settings cannot be shown"
    assert second.startswith("report of 1 run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run is given: pruner-zero report RUN_FOLDER"),
        (["runs/aa"], "there is no run folder runs/aa: did you mean runs/a?"),
        (["runs/a/config.yaml"], "is a file, not a run folder: did you mean runs/a?"),
        (["runs/a", "output=nowhere/page.html"], "there is no folder nowhere"),
        (["runs/a", "ouput=x"], "unknown setting 'ouput': did you mean 'output'?"),
        (["runs/a", "runs=[runs/b]"], "name the runs either as words or with runs="),
    ],
)
def test_mistakes_are_one_line(folders, capsys, arguments, message):
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_an_empty_current_folder_is_no_problem(folders, capsys, monkeypatch):
    (folders / "empty").mkdir()
    monkeypatch.chdir(folders / "empty")
    assert main(["report", "../runs/a", "output=../page.html"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert (folders / "empty").is_dir() and (folders / "page.html").exists()


def test_help(capsys):
    assert main(["report", "--help"]) == 0
    assert "pruner-zero report RUN..." in capsys.readouterr().out
