"""The plan command: how far can I prune?"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from pruner_zero.__main__ import main
from pruner_zero.commands import plan as module
from pruner_zero.commands.plan_report import _too_short, percent


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
    words = shlex.split(command)[1:]
    target = tmp_path / "pruned"
    words = [f"output={target}" if word.startswith("output=") else word for word in words]
    local = [a for a in arguments if a.startswith(("cache", "device", "calibration"))]
    assert main([*words, *local, "windows=2", "length=48"]) == 0
    assert (target / "pruning.json").exists()


def test_a_metric_that_needs_its_update_is_said(arguments, tmp_path, capsys):
    settings = ["patterns=[2:4]", "tolerance=99%"]
    assert main([*arguments, "metrics=[pz-adaptive-24]", *settings]) == 0
    assert (
        "warning: pz-adaptive-24 was judged with weight update adaptive; plan measures it without"
        in capsys.readouterr().out.splitlines()
    )
    again = f"output={tmp_path / 'other'}"
    assert main([*arguments, "metrics=[pz-relative-24]", *settings, again]) == 0
    assert "warning" not in capsys.readouterr().out


def test_sparsegpt_is_pruned_as_it_was_measured(arguments, capsys):
    assert main([*arguments, "metrics=[sparsegpt]", "patterns=[2:4]", "tolerance=99%"]) == 0
    printed = capsys.readouterr().out
    assert "metric=sparsegpt sparsity=2:4 mode=sequential" in printed


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
    line = _too_short(result, margin=3 * tolerance / 2 / 100, wanted_margin=tolerance / 2 / 100)
    assert "± 6.00 %, against a tolerance of 4 %" in line
    assert "For ± 2.00 % take about 1,728 tokens (windows=36), of which" in line
    assert "has 500" in line


def test_a_miss_that_the_interval_does_not_exclude_is_said(arguments, capsys):
    settings = ["windows=2", "tolerance=0.0001%", "patterns=[2:4]", "metrics=[wanda]"]
    assert main([*arguments, *settings]) == 0
    printed = capsys.readouterr().out
    assert "The nearest is wanda at 2:4: +" in printed
    assert "too short for a stable answer: with 2 x 48 tokens" in printed


def test_percent_has_no_more_digits_than_mean_something():
    assert [percent(value) for value in (0.05, 0.9999, 1.5, 1141.256)] == [
        "5.00", "99.99", "150", "114,126"
    ]  # fmt: skip
    assert percent(0.0504, "+") == "+5.04" and percent(-0.2, "+") == "-20.00"


def test_the_command_has_the_settings_of_the_plan(arguments, capsys):
    more = ["tolerance=99%", "patterns=[2:4]", "seed=3", "calibration.gradient_norm=l1"]
    assert main([*arguments, *more]) == 0
    command = next(
        line for line in capsys.readouterr().out.splitlines() if "pruner-zero prune" in line
    )
    assert "calibration.sequences=3 calibration.length=32 calibration.gradient_norm=l1" in command
    assert "seed=3" in command and "gradient_scale" not in command
    assert "length=48 windows=4" in command  # the text may be no longer than that


def test_the_command_is_what_a_shell_takes(arguments, text_file, tmp_path, capsys):
    notes = tmp_path / "my notes, 1.txt"
    notes.write_text(text_file.read_text())
    own = [a for a in arguments if not a.startswith("corpus.files")]
    assert main([*own, f"corpus.files=['{notes}']", "tolerance=99%", "patterns=[2:4]"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (command,) = [line for line in printed if line.startswith("  pruner-zero prune")]
    words = [w for w in shlex.split(command)[1:] if not w.startswith("output=")]
    local = [a for a in arguments if a.startswith(("cache", "device"))]
    assert main([*words, *local, f"output={tmp_path / 'pruned'}"]) == 0


def test_an_interrupted_plan_goes_on_from_its_probes(arguments, tmp_path, capsys, monkeypatch):
    settings = ["metrics=[wanda,magnitude]", "resolution=0.05", "tolerance=1%"]
    folder = tmp_path / "plan"
    assert main([*arguments, *settings, f"output={tmp_path / 'whole'}"]) == 0
    whole = json.loads((tmp_path / "whole" / "plan.json").read_text())

    made = []
    original = module.compare_losses

    def third_is_interrupted(*values):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(values)
        return original(*values)

    monkeypatch.setattr(module, "compare_losses", third_is_interrupted)
    capsys.readouterr()
    assert main([*arguments, *settings]) == 130
    assert capsys.readouterr().out.endswith(
        f"stopped; continue with the same command and output={folder}\n"
    )
    log = folder / "probes.jsonl"
    assert len(log.read_text().splitlines()) == 2

    # A kill while a line is written, and a text that is not the same.
    made.clear()
    log.write_text(log.read_text()[:-5])
    monkeypatch.setattr(module, "compare_losses", lambda *v: made.append(v) or original(*v))
    for other in ("windows=3", "seed=1", "calibration.sequences=2"):
        assert main([*arguments, *settings, other]) == 2
        error = capsys.readouterr().err
        name = other.partition("=")[0].partition(".")[0]
        assert f"made with other values of {name}: give another output" in error
        assert error.count("\n") == 1
    assert not made
    assert main([*arguments, *settings, "tolerance=2%"]) == 0
    assert f"1 probe known, in {folder}" in capsys.readouterr().out
    (folder / "plan.json").unlink()
    made.clear()
    assert main([*arguments, *settings]) == 0
    assert " %), known\n" in capsys.readouterr().out
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["rows"] == whole["rows"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    keys = [(line["metric"], line["sparsity"]) for line in lines]
    assert len(keys) == len(set(keys)) and len(made) < len(keys)


def test_a_changed_text_and_a_folder_of_other_things_are_refused(
    arguments, text_file, tmp_path, capsys
):
    mine = tmp_path / "mine.txt"
    mine.write_text(text_file.read_text())
    settings = [f"corpus.files=[{mine}]", "patterns=[2:4]", "tolerance=50%"]
    assert main([*arguments, *settings]) == 0
    folder = tmp_path / "plan"
    (folder / "plan.json").unlink()
    mine.write_text(text_file.read_text().replace("river", "brook"))
    assert main([*arguments, *settings]) == 2
    assert "the text has changed since" in capsys.readouterr().err
    (folder / "probes.jsonl").unlink()
    assert main([*arguments, *settings]) == 2
    assert f"{folder} is not empty: give another output" in capsys.readouterr().err


def test_mistakes_before_the_first_probe_may_be_mended_in_place(arguments, capsys):
    assert main([*arguments, "windows=100000"]) == 2
    assert main([*arguments, "patterns=[2:4]"]) == 0


def test_ctrl_c_says_how_to_go_on(arguments, tmp_path):
    settings = ["metrics=[wanda,magnitude]", "resolution=0.0001", "windows=8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pruner_zero", *arguments, *settings],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ},
    )  # fmt: skip
    log = tmp_path / "plan" / "probes.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in printed
    assert printed.splitlines()[-1].endswith(f"same command and output={log.parent}")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["tolerance=lots"], "such as 5% or 0.05"),
        (["tolerance=0"], "such as 5% or 0.05"),
        (["tolerance=5"], "such as 5% or 0.05"),
        (["metrics=[wanda,wanda]"], "metrics names wanda twice"),
        (["metrics=[wnda]"], "did you mean 'wanda'"),
        (["metrics=[]"], "at least one metric"),
        (["patterns=[0.5]"], "unstructured or N:M"),
        (["patterns=[3:7]"], "not a multiple of 7"),
        (["resolution=0"], "resolution"),
        (["windows=100000"], "lower length or the number of windows"),
    ],
)
def test_mistakes(arguments, tmp_path, capsys, extra, message):
    assert main([*arguments, *extra]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "plan").exists()
