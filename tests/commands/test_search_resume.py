"""Searches that were stopped, and how they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from omegaconf import OmegaConf

from pruner_zero.__main__ import main
from tests.commands.searching import error_line, run


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.yaml", "a: [", "config.yaml cannot be read (while parsing"),
        ("config.yaml", "- 1", "config.yaml cannot be read (it holds no settings)"),
        ("checkpoint.json", '{"version": 4}', "checkpoint.json holds no state of a search"),
        ("checkpoint.json", "[]", "checkpoint.json holds no state of a search"),
        ("checkpoint.json", None, "run lacks checkpoint.json: put it back"),
        ("evaluations.jsonl", "garbage\n", "evaluations.jsonl is damaged (Expecting"),
        ("evaluations.jsonl", "", "evaluations.jsonl lacks evaluations that checkpoint.json knows"),
    ],
)
def test_resuming_a_damaged_run_is_one_line(tiny_arguments, tmp_path, capsys, file, text, message):
    quick = [*tiny_arguments, "search.generations=0", "test.baselines=[]"]
    assert run(*quick) == 0
    (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "run" / file).unlink()
    if text is not None:
        (tmp_path / "run" / file).write_text(text)
    capsys.readouterr()
    assert run(*quick, f"resume={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_state_of_another_shape_is_one_line(tiny_arguments, tmp_path, capsys):
    quick = [*tiny_arguments, "search.generations=0", "test.baselines=[]"]
    assert run(*quick) == 0
    (tmp_path / "run" / "results.json").unlink()
    checkpoint = tmp_path / "run" / "checkpoint.json"
    saved = json.loads(checkpoint.read_text())
    del saved["state"]["generator"]
    checkpoint.write_text(json.dumps(saved))
    capsys.readouterr()
    error = error_line(capsys, *quick, f"resume={tmp_path / 'run'}")
    assert "checkpoint.json is damaged (KeyError: 'generator'): start a new run" in error


def test_what_a_run_left_that_never_began_is_no_obstacle(tiny_arguments, tmp_path):
    left = tmp_path / "run" / "operators" / "0_mine.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    assert run(*tiny_arguments, "search.generations=0", "test.baselines=[]") == 0
    assert not left.exists()


def test_occupied_folder_and_changed_settings_are_refused(tiny_arguments, tmp_path, capsys):
    quick = [*tiny_arguments, "search.generations=0"]
    assert run(*quick) == 0
    capsys.readouterr()
    assert "already holds a run" in error_line(capsys, *quick)
    resumed = error_line(capsys, *quick, f"resume={tmp_path / 'run'}", "seed=5", "sparsity=0.6")
    assert "other values of seed, sparsity" in resumed


def test_a_text_that_has_changed_is_not_gone_on_with(tiny_arguments, text_file, tmp_path, capsys):
    text = tmp_path / "own.txt"
    text.write_text(text_file.read_text())
    quick = [*tiny_arguments, f"corpus.files=[{text}]", "search.generations=0", "test.baselines=[]"]
    assert run(*quick) == 0
    (tmp_path / "run" / "results.json").unlink()
    text.write_text(text.read_text().replace("river", "brook"))
    capsys.readouterr()
    error = error_line(capsys, *quick, f"resume={tmp_path / 'run'}")
    assert "the text of corpus files has changed" in error


def test_a_run_that_is_older_than_a_setting_goes_on(tiny_arguments, tmp_path, capsys):
    quick = [*tiny_arguments, "search.generations=0", "test.baselines=[]"]
    assert run(*quick) == 0
    folder = tmp_path / "run"
    (folder / "results.json").unlink()
    settings = OmegaConf.load(folder / "config.yaml")
    del settings["workers"], settings["fitness"]["domains"]
    OmegaConf.save(settings, folder / "config.yaml")
    # Another program's settings lie beside it, and refer to what is not there.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: ${b.c}")
    assert run(*quick, "search.generations=1", "resume=auto") == 0
    assert "resumed after candidate 8" in capsys.readouterr().out


def test_kill_and_the_same_command_again(tiny_arguments, tmp_path):
    whole = tmp_path / "whole"
    settings = [*tiny_arguments[:-1], "search.generations=6"]
    assert run(*settings, f"hydra.run.dir={whole}") == 0
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "pruner_zero", "search", *settings, f"hydra.run.dir={folder}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ})
    log = folder / "evaluations.jsonl"
    while process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") >= 5:
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.005)
    assert process.returncode == -signal.SIGKILL
    # A finished run and one of other settings lie beside it: neither is taken for it.
    assert run(*settings, "resume=auto", f"hydra.run.dir={tmp_path / 'unused'}") == 0
    for name in ("hall_of_fame.json", "checkpoint.json"):
        assert (folder / name).read_text() == (whole / name).read_text()
    assert not (tmp_path / "unused").exists()


def test_interrupt_says_how_to_go_on(tiny_arguments, tmp_path):
    command = [sys.executable, "-m", "pruner_zero", "search", *tiny_arguments,
               "search.generations=5000"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )
    log = tmp_path / "run" / "evaluations.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"resume={tmp_path / 'run'}" in printed
    assert "Traceback" not in printed


def test_interrupt_before_the_first_candidate_says_that_nothing_is_lost(
    tiny_arguments, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pruner_zero.commands.search._dense", interrupted)
    assert main(["search", *tiny_arguments]) == 130
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == "stopped before the first candidate: start the command again"


@pytest.mark.parametrize(
    "place", ["importlib.import_module", "pruner_zero.commands.launch.register_schemas"]
)
def test_interrupt_while_starting_is_one_line(monkeypatch, capsys, place):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    assert run("seed=1") == 130
    printed = capsys.readouterr()
    assert printed.out.startswith("stopped; the same command starts again")
    assert printed.out.count("\n") == 1 and not printed.err
