"""The ledger command: what runs have left, listed and exported."""

from __future__ import annotations

import csv
import json

import pytest

from pruner_zero.__main__ import main


@pytest.fixture
def cache(tiny_arguments, tmp_path):
    assert main(["search", *tiny_arguments, "search.generations=1", "test.baselines=[]"]) == 0
    return tmp_path / "cache"


def test_list_and_export(cache, tmp_path, capsys):
    records = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").open()]
    complete = {r["digest"]: r["perplexity"] for r in records if r["complete"] and r["perplexity"]}
    capsys.readouterr()
    assert main(["ledger", f"cache={cache}", "top=1"]) == 0
    printed = capsys.readouterr().out
    assert f"{min(complete.values()):.2f}" in printed and "sparsity 0.5" in printed
    assert "calibration 4 x 64 l2 seed 0" in " ".join(printed.split())
    target = tmp_path / "all.csv"
    assert main(["ledger", f"cache={cache}", f"export={target}"]) == 0
    rows = list(csv.DictReader(target.open()))
    exported = {r["digest"]: float(r["perplexity"]) for r in rows if r["perplexity"]}
    assert exported == pytest.approx(complete)
    lines = tmp_path / "all.jsonl"
    assert main(["ledger", f"cache={cache}", f"export={lines}"]) == 0
    assert {json.loads(line)["digest"] for line in lines.open()} == {r["digest"] for r in rows}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export=all.xlsx"], "must end in .csv or .jsonl"),
        (["context=nothing"], "no context nothing"),
        (["top=0"], "top must be at least 1"),
        (["ledger=/nowhere/l.sqlite"], "there is no ledger at"),
    ],
)
def test_mistakes(cache, capsys, arguments, message):
    capsys.readouterr()
    assert main(["ledger", f"cache={cache}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
