"""The plan command: how far can I prune?"""

from __future__ import annotations

import json

import pytest

from pruner_zero.__main__ import main
from pruner_zero.commands.plan_report import _too_short


@pytest.fixture
def arguments(text_file, tmp_path):
    return [
        "plan", "model=random-tiny", "corpus=files", f"corpus.files=[{text_file}]",
        "calibration.sequences=3", "calibration.length=32", "windows=4", "length=48",
        "resolution=0.1", f"cache={tmp_path / 'cache'}", f"output={tmp_path / 'plan'}",
        "device=cpu",
    ]  # fmt: skip


def test_answer_is_within_the_tolerance_and_its_command_runs(arguments, tmp_path, capsys):
    assert main([*arguments, "tolerance=1%", "metrics=[wanda,'mul(W,G)@model']"]) == 0
    printed = capsys.readouterr().out
    plan = json.loads((tmp_path / "plan" / "plan.json").read_text())
    dense = plan["dense_perplexity"]
    assert [(r["metric"], r["pattern"]) for r in plan["rows"]][:2] == [
        ("wanda", "unstructured"), ("wanda", "4:8")
    ]  # fmt: skip
    for row in plan["rows"]:
        for probe in row["probes"]:
            assert probe["change"] == pytest.approx(probe["perplexity"] / dense - 1)
        if row["best"]:
            assert row["best"]["change"] <= 0.01
        if row["pattern"] == "unstructured":
            within = [p for p in row["probes"] if p["change"] <= 0.01]
            best = max(within, key=lambda p: p["ratio"], default=None)
            assert row["best"] == best
    assert "equally likely" in printed
    assert (tmp_path / "plan" / "plan.svg").read_text().startswith("<?xml")
    assert "highest sparsity" in (tmp_path / "plan" / "plan.md").read_text()
    command = next(line for line in printed.splitlines() if line.startswith("  pruner-zero prune"))
    words = command.strip().split()[1:]
    target = tmp_path / "pruned"
    words = [f"output={target}" if word.startswith("output=") else word for word in words]
    local = [a for a in arguments if a.startswith(("cache", "device", "calibration"))]
    assert main([*words, *local, "windows=2", "length=48"]) == 0
    assert (target / "pruning.json").exists()


def test_a_tolerance_that_nothing_meets_names_the_nearest(arguments, tmp_path, capsys):
    settings = ["metrics=['neg(mul(W,sqrt(X)))']", "tolerance=0.0001%", "patterns=[2:4]"]
    assert main([*arguments, *settings]) == 0
    assert "The nearest is neg(mul(W,sqrt(X))) at 2:4: +" in capsys.readouterr().out
    assert json.loads((tmp_path / "plan" / "plan.json").read_text())["rows"][0]["best"] is None
    assert "none (nearest: 2:4)" in (tmp_path / "plan" / "plan.md").read_text()


def test_short_text_is_said_and_how_short(arguments, tmp_path, capsys):
    assert main([*arguments, "windows=1", "tolerance=99%", "patterns=[2:4]"]) == 0
    printed = capsys.readouterr().out
    assert "too short for a stable answer: with 1 x 48 tokens" in printed
    assert "cannot be told from one window" in printed and "take windows=8 at least" in printed

    # The interval narrows with the root of the number of tokens.
    tolerance = 4.0
    result = {
        "tolerance": tolerance / 100,
        "validation": {"windows": [4, 48], "tokens": 500},
    }
    line = _too_short(result, margin=3 * tolerance / 2 / 100)
    assert "± 6.0 %, against a tolerance of 4 %" in line
    assert "take about 1,728 tokens (windows=36), of which" in line and "has 500" in line


def test_the_command_has_the_settings_of_the_plan(arguments, capsys):
    more = ["tolerance=99%", "patterns=[2:4]", "seed=3", "calibration.gradient_norm=l1"]
    assert main([*arguments, *more]) == 0
    command = next(
        line for line in capsys.readouterr().out.splitlines() if "pruner-zero prune" in line
    )
    assert "calibration.sequences=3 calibration.length=32 calibration.gradient_norm=l1" in command
    assert "seed=3" in command and "gradient_scale" not in command


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["tolerance=lots"], "such as 5% or 0.05"),
        (["tolerance=0"], "such as 5% or 0.05"),
        (["metrics=[wnda]"], "did you mean 'wanda'"),
        (["metrics=[]"], "at least one metric"),
        (["patterns=[0.5]"], "unstructured or N:M"),
        (["patterns=[3:7]"], "not a multiple of 7"),
        (["resolution=0"], "resolution"),
        (["windows=100000"], "lower length or the number of windows"),
    ],
)
def test_mistakes(arguments, capsys, extra, message):
    assert main([*arguments, *extra]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
