"""The scripts of experiments/ that share the report's values."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.report.folders import results, write_run
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
    assert rank.startswith("| rank | 39.00, 39.00 | 39.00 | 7 | 8 | 1 | 1 | 0.00, 1.00 |")
    assert (out / "curves.svg").stat().st_size > 1000 and (out / "table.md").exists()


def test_heat_map_of_two_settings(tmp_path, monkeypatch, capsys):
    for width in (0.1, 0.5):
        for size in (4, 8):
            run_folder = tmp_path / "sweep" / f"{width}-{size}"
            varied = {"population_size": size, "mutation_probability": width}
            write_run(run_folder, ended=results(), **{f"search__{k}": v for k, v in varied.items()})
    write_run(tmp_path / "sweep" / "stopped", search__mutation_probability=0.1)
    out = tmp_path / "out"
    settings = ["--rows", "search.population_size", "--columns", "search.mutation_probability"]
    run(monkeypatch, "sweeps/heat_map.py", *settings, "--out", out, tmp_path / "sweep")
    table = capsys.readouterr().out.splitlines()
    assert table[2].startswith("| search.population_size | search.mutation_probability | mean |")
    assert table[4:8] == [
        f"| {size} | {width} | 39.00 | 39.00 |" for size in (4, 8) for width in (0.1, 0.5)
    ]
    assert (out / "heat_map.svg").stat().st_size > 1000
    with pytest.raises(SystemExit):
        run(monkeypatch, "sweeps/heat_map.py", *settings, "--out", out, tmp_path / "sweep/stopped")


def test_words_of_a_recorded_run(tmp_path, monkeypatch, capsys):
    recorded = EXPERIMENTS / "discovered" / "wide_50_seed0"
    run(monkeypatch, "analysis/words.py", "--out", tmp_path, recorded)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "129 distinct pruned models; good: the best 13."
    assert len(lines) > 10
