"""Which memory is chosen, what is said about it, and when it is refused; free memory is faked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.model import placement
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.memory import MARGIN, Shapes, Workload, predict
from pruner_zero.model.placement import choose_memory, place
from pruner_zero.model.score_stack import CUDA_WINDOW

from .conftest import tiny_llama

WORK = Workload(window=32, windows=2)
CUDA = torch.device("cuda")


@pytest.fixture
def choose(monkeypatch):
    def chosen(memory, free, device=CUDA):
        lines = []
        monkeypatch.setattr(placement, "free_memory", lambda where: int(free))
        model = tiny_llama(num_hidden_layers=8)
        return choose_memory(model, device, memory, WORK, lines.append), lines

    return chosen


def predicted(work):
    shapes = Shapes.of(tiny_llama(num_hidden_layers=8))
    return {m: predict(shapes, work, m, 1 << 22) for m in ("resident", "blockwise")}


@pytest.fixture
def needs():
    return predicted(replace(WORK, together=CUDA_WINDOW))


def test_auto_takes_what_fits(choose, needs):
    enough = needs["resident"].device * MARGIN
    assert choose("auto", enough + 1)[0] == "resident"
    assert choose("auto", enough - 2)[0] == "blockwise"


def test_the_line_has_all_parts_with_units(choose, needs):
    _, (line,) = choose("blockwise", 123e6)
    blockwise = needs["blockwise"]
    assert line.startswith(f"memory=blockwise: predicted peak {blockwise.device / 1e6:.2f} MB on")
    for name, size in blockwise.parts.items():
        assert f"{name} {size / 1e6:.2f} MB" in line
    assert line.endswith(f"and {blockwise.host / 1e6:.2f} MB on the host; 0.12 GB free")
    _, (line,) = choose("blockwise", blockwise.device)
    assert line.endswith(" free: may not suffice")


def test_weights_that_cannot_fit_are_refused_with_the_other_choice(choose, needs):
    with pytest.raises(UserError, match=r"for weights alone, .* set memory=blockwise \(2\.\d+ MB"):
        choose("resident", needs["resident"].fixed - 1)
    with pytest.raises(UserError, match="or a smaller model"):
        choose("auto", needs["blockwise"].fixed - 1)
    with pytest.raises(UserError, match="unknown memory 'blokwise': did you mean 'blockwise'"):
        choose("blokwise", 1e9)


def test_on_the_cpu_both_parts_are_in_one_memory(choose):
    needs = predicted(WORK)
    weights = Shapes.of(tiny_llama(num_hidden_layers=8)).weights  # in memory already
    together = (needs["blockwise"].device + needs["blockwise"].host) * MARGIN - weights
    resident = needs["resident"].device * MARGIN - weights
    assert together < resident  # there is no copy of the dense weights
    cpu = torch.device("cpu")
    assert choose("auto", resident + 1, cpu)[0] == "resident"
    assert choose("auto", (together + resident) / 2, cpu)[0] == "blockwise"
    assert choose("auto", together - 2, cpu)[0] == "resident"  # neither fits


def test_a_small_host_is_named(choose, monkeypatch):
    work = Workload(window=32, windows=2, host_copy=True)
    monkeypatch.setattr(placement, "free_memory", lambda where: int(1e9) * (where == CUDA))
    lines = []
    model = tiny_llama(num_hidden_layers=8)
    choose_memory(model, CUDA, "blockwise", work, lines.append)
    size = Shapes.of(model).weights
    assert lines[0].endswith(f": the host may not suffice, {size / 1e6:.2f} MB with the weights")


def test_on_the_cpu_the_line_adds_up(choose, needs):
    _, (line,) = choose("blockwise", 1e9, torch.device("cpu"))
    blockwise = needs["blockwise"]
    total = (blockwise.device + blockwise.host) / 1e6
    assert line.startswith(f"memory=blockwise: predicted peak {total:.2f} MB on cpu (frame ")
    assert f"all blocks and statistics {blockwise.host / 1e6:.2f} MB)" in line


def test_placing_is_done_once():
    model = tiny_llama()
    for _ in range(2):
        place(model, torch.device("cpu"), "blockwise")
    first = hosted_blocks(model)
    assert first is not None
    place(model, torch.device("cpu"), "blockwise")
    assert hosted_blocks(model) is first
    resident = tiny_llama()
    place(resident, torch.device("cpu"), "resident")
    assert hosted_blocks(resident) is None
