"""The scripts of experiments/ that share the report's values."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.report.test_sweep import sweep

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(EXPERIMENTS / script), run_name="__main__")


def test_curves_group_runs_by_a_setting(tmp_path, monkeypatch, capsys):
    sweep(tmp_path / "sweep", sizes=(4,))
    out = tmp_path / "out"
    run(monkeypatch, "curves.py", "--by", "simplify", "--out", out, tmp_path / "sweep")
    rank = capsys.readouterr().out.splitlines()[3]
    assert rank.startswith("| rank | 39.00, 39.00 | 39.00 | 7 | 3 | 1 | 1 | 0.00, 1.00 |")
    assert (out / "curves.svg").stat().st_size > 1000 and (out / "table.md").exists()


def test_words_of_a_recorded_run(tmp_path, monkeypatch, capsys):
    recorded = EXPERIMENTS / "discovered" / "wide_50_seed0"
    run(monkeypatch, "analysis/words.py", "--out", tmp_path, recorded)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "129 distinct pruned models; good: the best 13."
    assert len(lines) > 10
