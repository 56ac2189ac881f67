"""Which folders are runs, and what is suggested for those that are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pruner_zero.errors import UserError
from pruner_zero.report import find_runs, is_run
from tests.report.folders import results, write_run


def test_a_run_a_sweep_and_a_folder_of_both(tmp_path):
    one = write_run(tmp_path / "one", ended=results())
    sweep = [write_run(tmp_path / "sweep" / str(job)) for job in (0, 1, 2, 10)]
    assert find_runs([one]) == [one]
    assert find_runs([tmp_path / "sweep"]) == sweep  # numbers as numbers
    assert find_runs([tmp_path]) == [one, *sweep]
    assert find_runs([sweep[1], tmp_path / "sweep" / ".." / "sweep" / "1", one]) == [sweep[1], one]


def test_incomplete_folders_are_runs(tmp_path):
    folder = write_run(tmp_path / "run", ended=results())
    for gone in ("hall_of_fame.json", "evaluations.jsonl"):
        (folder / gone).unlink()
        assert is_run(folder)
    (folder / "results.json").unlink()
    assert not is_run(folder)


def _told(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_runs([path])
    return str(caught.value)


def test_the_nearest_run_is_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    old = write_run(runs / "2026-01-01_10-00-00")
    new = write_run(runs / "2026-03-05_11-11-11")
    os.utime(old, (1, 1))
    assert f"no run folder {runs / '2026-01-01'}: did you mean {old}?" in _told(
        runs / "2026-01-01_10-00"
    ).replace("_10-00:", ":")
    assert f"did you mean {new}?" in _told(runs / "wholly different")  # the newest
    assert _told(old / "config.yaml").endswith(f"is a file, not a run folder: did you mean {old}?")
    (runs / "empty").mkdir()
    assert "holds no search: did you mean" in _told(runs / "empty")
    # From elsewhere too: runs/ is where they lie.
    assert "did you mean runs/2026-03-05_11-11-11?" in _told(tmp_path / "x" / "2026-03-05_11-11")


@pytest.mark.parametrize(
    ("mark", "kind"), [("plan.json", "a plan"), ("cells.jsonl", "a comparison")]
)
def test_folders_of_other_commands_are_named(tmp_path, monkeypatch, mark, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / mark).touch()
    assert f"holds no search but {kind}" in _told(tmp_path / "other")
    assert _told(tmp_path / "other").endswith("make one with pruner-zero search")
