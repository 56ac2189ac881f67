"""The show command: a metric in all its forms."""

from __future__ import annotations

import re

import pytest
import torch

from pruner_zero.__main__ import main
from pruner_zero.metric import Metric


def shown(capsys, *arguments):
    assert main(["show", *arguments]) == 0
    return capsys.readouterr().out


def test_the_published_metric(capsys):
    text = shown(capsys, "metric=pruner-zero")
    assert "formula   mul(abs(mul(W, W)), mms(G))" in text
    assert "arXiv:2406.02924" in text
    assert "  row     mul(mms(G), sqr(W))" in text
    assert '"data": "mms"' in text
    assert "└─ mms  (min-max scaling" in text


@pytest.mark.parametrize("formula", ["mul(W, sqrt(X))", "sqrt(G)", "mul(W, D)"])
def test_the_python_snippet_runs(capsys, formula):
    text = shown(capsys, f"metric={formula}")  # as a shell hands it over
    code = "\n".join(line.strip() for line in text[text.index("Python\n") + 7 :].splitlines())
    names = {
        "W": torch.rand(2, 3), "G": torch.rand(2, 3), "X": torch.rand(1, 3), "D": torch.ones(1, 1)
    }  # fmt: skip
    exec(code, names)  # noqa: S102 (what a user would paste)
    expected = Metric.parse(formula).score(**{n: names[n] for n in "WGXD"})
    assert torch.equal(names["scores"], expected)


def test_a_metric_that_was_found_with_an_update_says_so(capsys):
    assert main(["show", "metric=pz-adaptive-24"]) == 0
    assert "adaptive: found with this weight update" in capsys.readouterr().out


def test_two_metrics_compared_scope_by_scope(capsys):
    text = shown(capsys, "metric='mms(mul(W,G))'", "other=mul(G,W)")
    assert re.search(r"row +the same to pruning: both order weights like mul\(G, W\)", text)
    assert re.search(r"model +not shown to be the same: mms", text)


def test_scope_and_tree_file(capsys, tmp_path):
    Metric.named("wanda").to_json(tmp_path / "tree.json")
    assert "known as  wanda" in shown(capsys, f"metric={tmp_path / 'tree.json'}")
    assert "scope     model" in shown(capsys, "metric='mul(W,G)@model'")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("metric=wnda", "did you mean 'wanda'"),
        ("metric='mul(W'", "position"),
        ("metric=sparsegpt", "not a formula"),
        ("metric=nothing.json", "cannot read the metric file"),
        ("other=wanda", "metric is not given"),
    ],
)
def test_mistakes(capsys, argument, message):
    assert main(["show", argument]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
