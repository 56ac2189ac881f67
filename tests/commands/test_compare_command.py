"""The compare command: one table, resumable per cell."""

from __future__ import annotations

import csv
import json

import pytest

from pruner_zero import Metric
from pruner_zero.__main__ import main
from pruner_zero.commands import compare as module

CELLS = ["methods=[dense,magnitude,wanda,sparsegpt,pruner-zero+obs]", "sparsity=[0.5,2:4]"]


@pytest.fixture
def arguments(text_file, tmp_path):
    return [
        "compare", "model=random-tiny", "corpus=files", f"corpus.files=[{text_file}]",
        "calibration.sequences=3", "calibration.length=32", "windows=2", "length=48",
        f"cache={tmp_path / 'cache'}", f"output={tmp_path / 'table'}", "device=cpu",
    ]  # fmt: skip


def test_table_files_and_resume_per_cell(arguments, tmp_path, capsys, monkeypatch):
    assert main([*arguments, *CELLS, "seeds=[0,1]"]) == 0
    folder = tmp_path / "table"
    rows = list(csv.DictReader((folder / "table.csv").open()))
    # dense once, magnitude once per sparsity, the others once per sparsity and seed
    assert len(rows) == 1 + 2 + 3 * 4
    for row in rows[1:]:
        # SparseGPT's own rule takes one weight more in every block of 128 columns.
        tolerance = 2e-3 if row["method"] == "sparsegpt" else 0
        assert float(row["measured_sparsity"]) == pytest.approx(0.5, abs=tolerance)
    assert {row["update"] for row in rows if row["method"] == "pruner-zero+obs"} == {"obs"}
    table = (folder / "table.md").read_text()
    assert "| wanda |" in table and "±" in table
    assert json.loads((folder / "provenance.json").read_text())["torch"]

    # A kill in the middle: the last line is cut short; only that cell is measured again.
    log = folder / "cells.jsonl"
    log.write_text(log.read_text()[:-20])
    measured = []
    original = module._fill
    monkeypatch.setattr(
        module, "_fill", lambda *a: measured.append(a[2].key) or original(*a)
    )  # fmt: skip
    assert main([*arguments, *CELLS, "seeds=[0,1]"]) == 0
    assert len(measured) == 1
    assert (folder / "table.md").read_text() == table
    # A wider table measures only what is new.
    measured.clear()
    assert main([*arguments, *CELLS, "seeds=[0,1]", "sparsity=[0.5,2:4,4:8]"]) == 0
    assert {key[1] for key in measured} == {"4:8"}
    capsys.readouterr()
    assert main([*arguments, *CELLS, "windows=3"]) == 2
    assert "made with other values of windows" in capsys.readouterr().err


def test_a_changed_metric_or_text_is_not_mixed_in(arguments, text_file, tmp_path, capsys):
    tree, text = tmp_path / "tree.json", tmp_path / "own.txt"
    text.write_text(text_file.read_text())
    mine = [*arguments, f"corpus.files=[{text}]", "sparsity=[0.5]"]
    Metric.named("wanda").to_json(tree)
    assert main([*mine, f"methods=[{tree}]"]) == 0
    capsys.readouterr()
    Metric.parse("W").to_json(tree)
    assert main([*mine, f"methods=[{tree}]"]) == 2
    error = capsys.readouterr().err
    assert "was mul(W, sqrt(X)) when" in error and "and is W now" in error
    assert error.count("\n") == 1
    Metric.named("wanda").to_json(tree)
    assert main([*mine, f"methods=[{tree}]"]) == 0
    text.write_text(text.read_text().replace("river", "brook"))
    assert main([*mine, f"methods=[{tree},magnitude]"]) == 2
    assert "the text has changed since" in capsys.readouterr().err


def test_shares_of_blocks_depend_on_the_seed(arguments, tmp_path):
    settings = ["methods=[magnitude]", "sparsity=[0.5]", "seeds=[0,1]"]
    for allocation, cells in {"uniform": 1, "owl": 2}.items():
        folder = tmp_path / allocation
        more = [f"output={folder}", f"allocation={allocation}"]
        assert main([*arguments, *settings, *more]) == 0
        assert len(list(csv.DictReader((folder / "table.csv").open()))) == cells


def test_metric_from_formula_file_and_failing_metric(arguments, tmp_path, capsys):
    Metric.named("wanda").to_json(tmp_path / "tree.json")
    methods = f"methods=['mul(W,sqrt(X))',wanda,{tmp_path / 'tree.json'},'mms(sub(W,W))']"
    assert main([*arguments, methods, "sparsity=[0.5]"]) == 0
    rows = list(csv.DictReader((tmp_path / "table" / "table.csv").open()))
    assert rows[0]["perplexity"] == rows[1]["perplexity"] == rows[2]["perplexity"]
    assert "NaN" in rows[3]["reason"]
    assert "failed" in capsys.readouterr().out


def test_scope_of_a_method_and_of_a_search(arguments, tiny_arguments, tmp_path):
    settings = ["search.scopes=[model]", "search.generations=0", "test.baselines=[]"]
    run = tmp_path / "run"
    assert main(["search", *tiny_arguments, *settings]) == 0
    best = json.loads((run / "results.json").read_text())["best"]
    assert best["scope"] == "model"
    methods = f"methods=[{run},'{best['expression']}@model','{best['expression']}','W@block']"
    assert main([*arguments, methods, "sparsity=[0.5]"]) == 0
    rows = list(csv.DictReader((tmp_path / "table" / "table.csv").open()))
    assert [row["scope"] for row in rows] == ["model", "model", "row", "block"]
    assert rows[0]["perplexity"] == rows[1]["perplexity"] != rows[2]["perplexity"]


def test_wide_formulas_measure_what_they_read(arguments, tmp_path, capsys):
    methods = "methods=[wanda,'ratio(sqr(W),H)','mul(mul(W,sqrt(X)),sqrt(R))','mul(W,D)']"
    assert main([*arguments, methods, "sparsity=[0.5]", "scope=layer", "seeds=[0,1]"]) == 0
    rows = list(csv.DictReader((tmp_path / "table" / "table.csv").open()))
    assert [row["seed"] for row in rows] == ["0", "1", "0", "1", "0", "1", ""]
    assert all(float(row["perplexity"]) > 0 for row in rows)
    printed = capsys.readouterr().out
    assert printed.count("measuring gradient, activation norms on 3 sequences") == 2
    assert printed.count("measuring inverse Hessian diagonals on 3 sequences") == 2
    assert printed.count("measuring output gradient norms on 3 sequences") == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["methods=[wnda]"], "did you mean 'wanda'"),
        (["methods=[wanda+sgd]"], "after the + choose from: adaptive, obs"),
        (["methods=[wanda+abs]"], "did you mean 'obs'"),
        (["methods=[wanda,wanda@block+adaptive]"], "method 'wanda@block+adaptive' at"),
        (["methods=[wanda+adaptive]", "scope=model"], "use scope row or layer"),
        (["methods=[pz-power-50+adaptive]"], "use scope row or layer"),
        (["methods=[wanda@modl]"], "did you mean 'model'"),
        (["methods=[sparsegpt@row]"], "drop the scope"),
        (["methods=[]"], "at least one method"),
        (["sparsity=[1.5]"], "strictly between 0 and 1"),
        (["sparsity=[3:7]"], "not a multiple of 7"),
        (["methods=[nothing.json]"], "cannot read the metric file nothing.json"),
        (["method=[wanda]"], "did you mean 'methods'"),
        (["mode=sequental"], "sequential"),
    ],
)
def test_mistakes(arguments, capsys, extra, message):
    assert main([*arguments, *extra]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seeds=[0,1,0]", "seeds names 0 twice"),
        ("seeds=[-1,1]", "seed -1: seeds are numbers from 0 up"),
        ("methods=[wanda,magnitude,wanda]", "methods names wanda twice"),
        ("sparsity=[0.5,2:4,0.50]", "sparsity names 0.5 twice"),
    ],
)
def test_what_would_count_twice_is_refused(arguments, capsys, setting, message):
    assert main([*arguments, *CELLS, setting]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_metric_that_needs_its_update_is_said(arguments, capsys):
    alone = [*arguments, "sparsity=[2:4]", "mode=sequential", "windows=1"]
    warning = "warning: pz-adaptive-24 was judged with weight update adaptive: "
    assert main([*alone, "methods=[pz-adaptive-24]"]) == 0
    assert f"{warning}pz-adaptive-24+adaptive measures it so" in capsys.readouterr().out
    assert main([*alone, "methods=[pz-adaptive-24+adaptive]"]) == 0
    assert "warning" not in capsys.readouterr().out
