"""Operators of a user's own, from the command line to the run folder and back."""

from __future__ import annotations

import json

import pytest

from pruner_zero.__main__ import main
from pruner_zero.metric import operators, own_operators
from pruner_zero.report import evaluation

TEXT = """
from pruner_zero import operator

@operator(sign="as arguments")
def cube(x):
    "third power"
    return x * x * x
"""


@pytest.fixture
def mine(tmp_path, own_words):
    path = tmp_path / "mine.py"
    path.write_text(TEXT)
    return path


def forget(monkeypatch):
    """As in a new process."""
    operators._table.pop("cube")
    monkeypatch.setattr(own_operators, "_read", {})
    evaluation._parsed.cache_clear()


def test_search_draws_them_and_keeps_the_file(tiny_arguments, mine, tmp_path, capsys, monkeypatch):
    seeds = ["search.seeds=[cube(W)]", f"operator_files=[{mine}]"]
    assert main(["search", *tiny_arguments, *seeds]) == 0
    run = tmp_path / "run"
    records = [json.loads(line) for line in (run / "evaluations.jsonl").open()]
    assert any("cube" in r["expression"] for r in records if r["operation"] != "seed")
    kept = run / "operators" / "0_mine.py"
    assert kept.read_text() == TEXT
    assert f"- {mine}" in (run / "config.yaml").read_text()

    # Another process: code in a folder is not run unless it is named.
    results = json.loads((run / "results.json").read_text())
    results["best"]["expression"] = "mul(cube(W), sqrt(X))"
    (run / "results.json").write_text(json.dumps(results))
    forget(monkeypatch)
    capsys.readouterr()
    assert main(["show", f"metric={run}"]) == 2
    assert f"add operator_files=[{kept}]" in capsys.readouterr().err
    assert main(["show", f"metric={run}", f"operator_files=[{kept}]"]) == 0
    printed = capsys.readouterr().out
    assert "cube  (third power)" in printed and f"load_operators(['{kept}'])" in printed


def test_report_says_what_it_needs_of_a_run_with_own_operators(
    tiny_arguments, mine, tmp_path, capsys, monkeypatch
):
    seeds = ["search.seeds=[cube(W)]", f"operator_files=[{mine}]", "search.generations=1"]
    assert main(["search", *tiny_arguments, *seeds]) == 0
    run = tmp_path / "run"
    kept, page = run / "operators" / "0_mine.py", run / "report.html"
    whole = page.read_text()
    for file in ("results.json", "hall_of_fame.json"):
        entries = json.loads((run / file).read_text())
        best = entries["validation"][0] if file == "results.json" else entries[0]
        best["expression"] = "cube(W)"
        (run / file).write_text(json.dumps(entries))

    mine.unlink()
    forget(monkeypatch)
    capsys.readouterr()
    assert main(["report", str(run)]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert "operators of the run's own: shown as text, without" in first
    assert f"add operator_files=[{kept}]" in first
    assert last.startswith("report of 1 run")
    assert "cube(W)" in page.read_text() and "tree of cube(W)" not in page.read_text()

    evaluation._parsed.cache_clear()
    assert main(["report", str(run), f"operator_files=[{kept}]"]) == 0
    assert capsys.readouterr().out.startswith("report of 1 run")
    assert "tree of cube(W)" in page.read_text()
    assert "Gaps in what was recorded" not in whole + page.read_text()


def test_resume_wants_the_same_operators(tiny_arguments, mine, tmp_path, capsys, monkeypatch):
    command = ["search", *tiny_arguments, f"operator_files=[{mine}]", "search.generations=1"]
    assert main(command) == 0
    forget(monkeypatch)
    mine.write_text(TEXT.replace("x * x * x", "x * x * x * x.abs()"))
    capsys.readouterr()
    assert main([*command, f"resume={tmp_path / 'run'}"]) == 2
    assert "had other operators: operator_files=[" in capsys.readouterr().err


def test_a_bad_operator_is_one_line_before_anything_loads(mine, capsys, monkeypatch):
    def must_not_load(*_args, **_settings):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)
    mine.write_text(TEXT.replace("x * x * x", "1 / x"))
    for command in (["search"], ["compare"], ["plan"], ["prune", "output=never"], ["show"]):
        more = ["metric=wanda"] if command == ["show"] else []
        assert main([*command, *more, f"operator_files=[{mine}]"]) == 2
        error = capsys.readouterr().err
        assert "operator 'cube' is not finite on zeros" in error and error.count("\n") == 1
