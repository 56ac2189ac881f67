"""The bench command: a table, files, the public flow beside it."""

from __future__ import annotations

import json

import pytest
import torch

from pruner_zero.__main__ import main


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch):
    monkeypatch.setattr("pruner_zero.bench.peaks._SIZES", {"cpu": (64,)})
    monkeypatch.setattr("pruner_zero.bench.peaks._COPIED", {"cpu": 1 << 16})


@pytest.fixture
def arguments(tmp_path):
    return [
        "bench", "model=random-tiny", "windows=2", "length=48", "repeats=1", "device=cpu",
        "calibration.sequences=8", "calibration.length=32", f"output={tmp_path / 'bench'}",
    ]  # fmt: skip


def test_report_holds_stages_device_versions_and_the_ratio(arguments, tmp_path, capsys):
    settings = ["metrics=[wanda,mul(W,G)@model]", "sparsity=[0.5]", "public_metric=gradient"]
    assert main([*arguments, *settings]) == 0
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "bench" / "bench.json").read_text())
    rows = results["candidates"]
    assert [(row["metric"], row["scope"]) for row in rows] == [
        ("wanda", "row"), ("mul(W,G)@model", "model"), ("gradient", "row"),
    ]  # fmt: skip
    for row in rows:
        assert row["tokens_per_second"] == pytest.approx(96 / row["seconds"])
    public = results["public"]
    timed, scaled = public["timed_stages"], public["stages"]
    assert scaled["calibrate"] == pytest.approx(4 * timed["calibrate"])
    assert scaled["forward"] == pytest.approx(2 * timed["forward"])
    assert scaled["sort"] == timed["sort"]
    assert public["seconds"] == pytest.approx(sum(scaled.values()))
    assert public["ratio"] == pytest.approx(public["seconds"] / rows[2]["seconds"])
    assert results["provenance"]["torch"] and results["peak_memory"] > 1e6
    text = (tmp_path / "bench" / "bench.md").read_text()
    assert "| dense forward |" in text and "8 x 32 calibration tokens" in text
    assert "Timed: 2 sequences and 1 windows" in printed
    assert main([*arguments, *settings]) == 2
    assert "already holds results" in capsys.readouterr().err


def test_the_public_flow_can_be_left_out_or_run_in_full(arguments, tmp_path):
    wanda = ["metrics=[wanda]", "sparsity=[2:4]"]
    assert main([*arguments, *wanda, "public=false"]) == 0
    assert "public" not in json.loads((tmp_path / "bench" / "bench.json").read_text())
    full = [*wanda, "public_sequences=null", "public_windows=null", "public_metric=wanda"]
    assert main([*arguments[:-1], f"output={tmp_path / 'full'}", *full]) == 0
    public = json.loads((tmp_path / "full" / "bench.json").read_text())["public"]
    assert public["stages"] == public["timed_stages"]
    assert (public["timed_sequences"], public["timed_windows"]) == (8, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("metrics=[]", "metrics: name at least one"),
        ("metrics=[sparsegpt]", "sparsegpt is no metric"),
        ("metrics=[wnada]", "wanda"),
        ("public_metric=mul(W,R)", "reads R, which the public code has not"),
        ("score_memory=-1", "score_memory must be at least 0"),
        ("length=1", "length must be at least 2"),
        ("length=4000", "longer than the model's 2048 positions"),
        ("calibration.length=4000", "longer than the model's 2048 positions"),
        ("metrics=['sub(W,W)']", "cannot be timed"),
        ("sparsity=[3:7]", "not a multiple of 7"),
    ],
)
def test_mistakes_are_one_line(arguments, tmp_path, capsys, setting, message):
    assert main([*arguments, setting]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "bench").exists()


# In the forward pass, where the batch is halved in vain first, and in the public flow.
@pytest.mark.parametrize(
    "place", ["model.head.CausalHead.hidden", "commands.bench.public_candidate"]
)
def test_a_full_device_is_one_line(arguments, tmp_path, capsys, monkeypatch, place):
    def full(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB\nmore")

    monkeypatch.setattr(f"pruner_zero.{place}", full)
    assert main([*arguments, "metrics=[wanda]", "sparsity=[0.5]"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: out of memory: bench keeps the whole model on the device")
    assert "smaller length" in error and "memory=" not in error and error.count("\n") == 1
    assert not (tmp_path / "bench").exists()
