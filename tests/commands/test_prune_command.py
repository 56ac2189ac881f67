"""The prune command: a folder that loads elsewhere, and proof of what is in it."""

from __future__ import annotations

import errno
import json
import math
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from pruner_zero.__main__ import main
from pruner_zero.commands import prune as module
from pruner_zero.files import left_behind


@pytest.fixture
def arguments(text_file, tmp_path):
    return [
        "prune", "model=random-tiny", "corpus=files", f"corpus.files=[{text_file}]",
        "calibration.sequences=3", "calibration.length=32", "windows=2", "length=48",
        f"cache={tmp_path / 'cache'}", f"output={tmp_path / 'pruned'}", "device=cpu",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "sparsity"),
    [
        (["metric=wanda", "sparsity=2:4"], "2:4"),
        (["metric='mul(W,G)@model'", "sparsity=0.5", "mode=one_shot"], "0.5"),
        (["metric=wanda", "sparsity=4:8", "update=obs"], "4:8"),
        (["metric=pz-adaptive-24", "sparsity=2:4", "update=adaptive"], "2:4"),
        (["metric=magnitude", "sparsity=0.6"], "0.6"),
    ],
)
def test_folder_loads_elsewhere_with_its_zeros(arguments, tmp_path, capsys, settings, sparsity):
    assert main([*arguments, *settings]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "pruned"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("a b")["input_ids"]
    record = json.loads((folder / "pruning.json").read_text())
    weights = dict(model.named_parameters())
    for layer in record["layers"]:
        zeros = int((weights[layer["name"] + ".weight"] == 0).sum())
        assert zeros == layer["zeros"] > 0
    if ":" in sparsity:
        n, m = map(int, sparsity.split(":"))
        for layer in record["layers"]:
            groups = weights[layer["name"] + ".weight"].reshape(-1, m)
            assert torch.all((groups == 0).sum(dim=1) == n)
    assert f"verified: loads, the same {sum(r['zeros'] for r in record['layers']):,}" in printed
    card = (folder / "README.md").read_text()
    assert f"pruned to {sparsity}" in card and f"{record['perplexity']['pruned']:.2f}" in card
    # The card's command repeats the run.
    words = shlex.split(record["command"])[1:]
    again = tmp_path / "again"
    local = [a for a in arguments if a.startswith(("cache", "device"))]
    assert main([*words, *local, f"output={again}"]) == 0
    other = dict(AutoModelForCausalLM.from_pretrained(again).named_parameters())
    assert all(torch.equal(weights[name], other[name]) for name in weights)


def test_a_found_metric_without_its_update_is_warned_of(arguments, capsys):
    assert main([*arguments, "metric=pz-adaptive-24", "sparsity=2:4"]) == 0
    assert "set update=adaptive to prune as it did" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["metric=wnda"], "did you mean 'wanda'"),
        (["sparsity=2"], "strictly between 0 and 1"),
        (["update=adam"], "obs"),
        (["metric='mms(sub(W,W))'"], "cannot prune this model"),
        (["windows=100000"], "lower length or the number of windows"),
    ],
)
def test_mistakes(arguments, capsys, extra, message):
    assert main([*arguments, *extra]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_folder_with_something_in_it_is_left_alone(arguments, tmp_path, capsys):
    (tmp_path / "pruned").mkdir()
    (tmp_path / "pruned" / "thesis.txt").write_text("years of work")
    assert main(arguments) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "pruned").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("failure", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped; the same command starts again"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device; nothing"),
        (SafetensorError("I/O error: No space left"), 2, "No space left; nothing of it was kept"),
    ],
)
def test_a_folder_that_is_not_finished_is_not_there(
    arguments, tmp_path, capsys, monkeypatch, failure, status, line
):
    from transformers import LlamaForCausalLM

    write = LlamaForCausalLM.save_pretrained

    def half(self, folder, **settings):
        write(self, folder, **settings)
        assert (Path(folder) / "config.json").exists() and Path(folder) != tmp_path / "pruned"
        raise failure

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", half)
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert line in printed.out + printed.err and printed.err.count("\n") <= 1
    assert not [path.name for path in tmp_path.iterdir() if path.name != "cache"]
    monkeypatch.undo()
    assert main(arguments) == 0


def test_a_folder_that_fails_verification_is_not_there(arguments, tmp_path, capsys, monkeypatch):
    values = iter([100.0, 120.0, 121.0])  # dense, pruned, loaded
    monkeypatch.setattr(
        "pruner_zero.commands.prune.measured_perplexity", lambda *given: next(values)
    )
    assert main(arguments) == 2
    assert "was not written whole: perplexity 121.0000, not 120.0000" in capsys.readouterr().err
    assert not [path.name for path in tmp_path.iterdir() if path.name != "cache"]


def test_a_pruned_model_that_gives_no_numbers_is_not_written(
    arguments, tmp_path, capsys, monkeypatch
):
    values = iter((20.0, math.inf))
    monkeypatch.setattr(module, "measured_perplexity", lambda *_: next(values))
    assert main([*arguments, "metric=magnitude", "sparsity=0.5"]) == 2
    error = capsys.readouterr().err
    assert "pruned by magnitude is not finite, so it is not written" in error
    assert error.count("\n") == 1 and not (tmp_path / "pruned").exists()


def test_the_recorded_command_repeats_the_run(arguments, text_file, tmp_path):
    notes = tmp_path / "my notes.txt"
    notes.write_text(text_file.read_text())
    mine = [*arguments, f"corpus.files=['{notes}']", "metric=mul(W, sqrt(X))", "windows=null"]
    assert main(mine) == 0
    first = json.loads((tmp_path / "pruned" / "pruning.json").read_text())
    words = shlex.split(first["command"])
    assert words[:2] == ["pruner-zero", "prune"] and "windows=null" in words
    local = [a for a in arguments if a.startswith(("cache", "device"))]
    assert main([*words[1:], *local, f"output={tmp_path / 'again'}"]) == 0
    again = json.loads((tmp_path / "again" / "pruning.json").read_text())
    assert again["test"] == first["test"] and again["perplexity"] == first["perplexity"]


def test_a_sweep_writes_below_its_output(arguments, tmp_path):
    assert main([*arguments, "-m", "metric=magnitude", "sparsity=0.5,2:4"]) == 0
    for number in ("0", "1"):
        assert (tmp_path / "pruned" / number / "pruning.json").exists()


def test_what_a_kill_left_is_named(arguments, tmp_path, capsys):
    gone = subprocess.Popen(["true"])
    gone.wait()
    part = tmp_path / f".pruned.{gone.pid}.part"
    part.mkdir()
    (tmp_path / f".pruned.{os.getpid()}.part").mkdir()
    assert left_behind(tmp_path / "pruned") == [part]
    (tmp_path / f".pruned.{os.getpid()}.part").rmdir()
    assert main(arguments) == 0
    assert f"{part} was left by a command that was killed" in capsys.readouterr().out


def test_the_current_folder_is_not_replaced(arguments, tmp_path, capsys, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([*arguments, "output=."]) == 2
    assert "name a folder in it" in capsys.readouterr().err


def test_no_output_is_asked_for(capsys):
    assert main(["prune", "model=random-tiny"]) == 2
    assert "output" in capsys.readouterr().err


def test_acceleration_is_refused_before_any_work(arguments, capsys, monkeypatch):
    def must_not_load(*_args, **_settings):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)
    for more, message in (
        (["sparsity=2:4"], "needs a CUDA device, not cpu"),
        (["sparsity=0.5"], "needs sparsity=2:4, not 0.5"),
    ):
        assert main([*arguments, *more, "accelerate_2of4=true"]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_acceleration_is_measured_before_and_after(arguments, tmp_path, capsys, monkeypatch):
    """The command's part of it, on a machine without sparse units."""
    home = "pruner_zero.commands.prune"
    speeds = iter([1000.0, 1500.0])
    converted = []
    monkeypatch.setattr(f"{home}.check_pattern", lambda pattern, device: None)
    monkeypatch.setattr(f"{home}.check_layers", lambda layers: None)
    monkeypatch.setattr(f"{home}.accelerate", converted.extend)
    monkeypatch.setattr(f"{home}.tokens_per_second", lambda model, ids: next(speeds))
    assert main([*arguments, "sparsity=2:4", "accelerate_2of4=true"]) == 0
    printed = capsys.readouterr().out
    assert (
        "1,000 tokens/s dense, 1,500 tokens/s with semi-structured tensors (1.50 times" in printed
    )
    record = json.loads((tmp_path / "pruned" / "pruning.json").read_text())
    assert record["accelerated"]["tokens_per_second"] == 1500.0
    assert len(converted) == len(record["layers"])
