"""``memory=``: the same results block by block, and what happens when the device is full."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from pruner_zero.__main__ import main
from pruner_zero.model.flow import FlownDecoder
from pruner_zero.model.head import CausalHead


@pytest.fixture
def arguments(text_file, tmp_path):
    return [
        "model=random-tiny", "corpus=files", f"corpus.files=[{text_file}]",
        "calibration.sequences=3", "calibration.length=32", "windows=2", "length=48",
        f"cache={tmp_path / 'cache'}", "device=cpu",
    ]  # fmt: skip


@pytest.fixture
def small_device(monkeypatch):
    """A device that has no room for the activations of whole windows, only of single blocks."""
    plain = CausalHead.hidden

    def hidden(self, ids):
        if ids.shape[1] > 8 and not isinstance(self.decoder, FlownDecoder):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB\nmore")
        return plain(self, ids)

    monkeypatch.setattr(CausalHead, "hidden", hidden)


def evaluations(folder):
    keys = ("expression", "perplexity", "losses", "digest", "reason")
    lines = (folder / "evaluations.jsonl").read_text().splitlines()
    return [[json.loads(line)[key] for key in keys] for line in lines]


def search(tiny_arguments, folder, *more):
    common = [a for a in tiny_arguments if not a.startswith("hydra.run.dir")]
    return main(["search", *common, "ledger=off", f"hydra.run.dir={folder}", *more])


def test_a_search_takes_the_same_course(tiny_arguments, tmp_path, capsys):
    results = {}
    for memory in ("resident", "blockwise"):
        folder = tmp_path / memory
        cache = f"cache={tmp_path / memory / 'cache'}"  # statistics are measured either way
        arguments = [a for a in tiny_arguments if not a.startswith("cache=")]
        assert search([*arguments, cache], folder, f"memory={memory}") == 0
        assert f"memory={memory}: predicted peak " in capsys.readouterr().out
        table = json.loads((folder / "results.json").read_text())["table"]
        results[memory] = evaluations(folder), table
    assert results["resident"] == results["blockwise"]


def test_a_search_goes_on_block_by_block(tiny_arguments, tmp_path, capsys, small_device):
    assert search(tiny_arguments, tmp_path / "auto", "memory=auto") == 0
    printed = capsys.readouterr().out
    assert printed.count("out of memory on the device: going on with memory=blockwise") == 1
    # The statistics are in the cache; a choice is not overruled.
    assert search(tiny_arguments, tmp_path / "resident", "memory=resident") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: out of memory with one window of 64 tokens: set memory=block")
    assert error.count("\n") == 1


def test_a_search_on_a_small_device_ends_like_any_other(tiny_arguments, tmp_path, request):
    assert search(tiny_arguments, tmp_path / "large") == 0
    request.getfixturevalue("small_device")
    assert search(tiny_arguments, tmp_path / "small") == 0
    assert evaluations(tmp_path / "small") == evaluations(tmp_path / "large")


@pytest.mark.parametrize("memory", ["blockwise", "auto"])
def test_compare_fills_the_same_table(arguments, tmp_path, capsys, memory, request):
    cells = ["methods=[dense,magnitude,wanda,sparsegpt,pruner-zero+obs]", "sparsity=[0.5,2:4]"]
    assert main(["compare", *arguments, *cells, f"output={tmp_path / 'a'}"]) == 0
    if memory == "auto":
        request.getfixturevalue("small_device")
    settings = [f"output={tmp_path / 'b'}", f"memory={memory}"]
    assert main(["compare", *arguments, *cells, *settings]) == 0
    rows = []
    for folder in ("a", "b"):
        table = csv.DictReader((tmp_path / folder / "table.csv").open())
        rows.append([{k: v for k, v in row.items() if k != "prune_seconds"} for row in table])
    assert rows[0] == rows[1]
    assert ("going on with memory=blockwise" in capsys.readouterr().out) == (memory == "auto")
    # Where the blocks were does not make it another table.
    assert (
        main(["compare", *arguments, *cells, f"output={tmp_path / 'a'}", f"memory={memory}"]) == 0
    )
    assert "9 cells, 9 known" in capsys.readouterr().out


def test_prune_writes_the_same_model(arguments, tmp_path, capsys):
    records = []
    for memory in ("resident", "blockwise"):
        folder = tmp_path / memory / "pruned"
        settings = [f"memory={memory}", f"output={folder}", "update=obs"]
        assert main(["prune", *arguments, *settings]) == 0
        assert "verified: loads, the same" in capsys.readouterr().out
        record = json.loads((folder / "pruning.json").read_text())
        records.append([record[key] for key in ("layers", "perplexity", "command")])
        records[-1].append((folder / "model.safetensors").read_bytes())
    assert records[0] == records[1]


def test_plan_finds_the_same_sparsities(arguments, tmp_path, request):
    settings = ["tolerance=1%", "metrics=[wanda]", "resolution=0.1"]
    assert main(["plan", *arguments, *settings, f"output={tmp_path / 'a'}"]) == 0
    request.getfixturevalue("small_device")
    assert main(["plan", *arguments, *settings, f"output={tmp_path / 'b'}"]) == 0
    plans = [json.loads((tmp_path / f / "plan.json").read_text())["rows"] for f in "ab"]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("command", ["search", "compare", "plan", "prune metric=wanda", "evaluate"])
def test_an_unknown_value_is_one_line(command, tmp_path, capsys):
    words = [*command.split(), f"cache={tmp_path}"]
    words += ["output=x"] if "prune" in command else []
    assert main([*words, "memory=block"]) == 2
    error = capsys.readouterr().err
    assert error == "error: unknown memory 'block': did you mean 'blockwise'?\n"
