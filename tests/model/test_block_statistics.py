"""Checkpointing and hosted blocks change the memory of a measurement, not its numbers."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import OutOfDeviceMemory, UserError
from pruner_zero.model import statistics as room
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import HostedBlocks
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.memory import Shapes, group_size
from pruner_zero.model.statistics import MEASURED_TERMINALS, measure_statistics

from .conftest import tiny_llama
from .live_bytes import LiveBytes
from .test_families import FAMILIES, build

CPU = torch.device("cpu")


def same(a, b):
    assert a.terminals() == b.terminals()
    for terminal, layers in a.values.items():
        for name, value in layers.items():
            assert value.equal(b.values[terminal][name]), (terminal, name)
    assert a.losses.equal(b.losses)


@pytest.mark.parametrize("family", FAMILIES)
def test_same_bits_in_every_family(family, ids, monkeypatch):
    model, _ = build(family)
    plain = measure_statistics(model, ids, MEASURED_TERMINALS, checkpointing=False)
    same(plain, measure_statistics(model, ids, MEASURED_TERMINALS, checkpointing=True))
    HostedBlocks(model, CPU)
    # Two sequences' block inputs at once, so that the sums wait on the host for the third.
    monkeypatch.setattr("pruner_zero.model.memory.HOST_INPUT_BYTES", 2 * 3 * 12 * 16 * 4)
    assert group_size(Shapes.of(model), 12) == 2
    same(plain, measure_statistics(model, ids, MEASURED_TERMINALS))


@pytest.mark.parametrize("terminals", ["X", "G", "R", "XH", "XR"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_same_bits_for_any_choice_of_terminals(terminals, norm, tiny, ids):
    plain = measure_statistics(tiny, ids, terminals, norm, checkpointing=False)
    same(plain, measure_statistics(tiny, ids, terminals, norm, checkpointing=True))
    HostedBlocks(tiny, CPU)
    same(plain, measure_statistics(tiny, ids, terminals, norm))


def test_a_sequence_may_occur_twice(tiny, ids):
    twice = ids[[0, 0, 1]]
    plain = measure_statistics(tiny, twice, checkpointing=False)
    HostedBlocks(tiny, CPU)
    same(plain, measure_statistics(tiny, twice))


@pytest.mark.parametrize(
    ("checkpointing", "hosted", "runs"),
    # One run serves all terminals; recomputing costs a second. Beside them: the cut of the head is
    # checked by two, and what blocks are called with is learnt by two.
    [(False, False, 2 + 3), (True, False, 2 + 2 + 3 * 2), (None, True, 2 + 2 + 3 * 2)],
)
def test_one_pass_serves_all_terminals(checkpointing, hosted, runs, tiny, ids):
    if hosted:
        HostedBlocks(tiny, CPU)
    counts = [0, 0]
    for index, block in enumerate(tiny.model.layers):
        block.mlp.register_forward_pre_hook(
            lambda module, args, index=index: counts.__setitem__(index, counts[index] + 1)
        )
    measure_statistics(tiny, ids, MEASURED_TERMINALS, checkpointing=checkpointing)
    assert counts == [runs, runs]


def test_gradients_are_freed_as_they_arrive(ids):
    model = tiny_llama(num_hidden_layers=8)
    layers = prunable_layers(model)
    largest, complete = 0, 0

    def watch(parameter):
        nonlocal largest, complete
        held = sum(layer.weight.grad is not None for layer in layers)
        largest = max(largest, held)
        complete += 1

    # Registered first, so that it sees each gradient before it is folded in.
    for layer in layers:
        layer.weight.requires_grad_()
        layer.weight.register_post_accumulate_grad_hook(watch)
    measure_statistics(model, ids, checkpointing=False)
    assert complete == len(layers) * len(ids)
    assert largest == 1


def test_checkpointing_keeps_the_activations_of_one_block(ids):
    model = tiny_llama(num_hidden_layers=12)
    row = ids[:1].repeat(1, 5)
    peaks = []
    for checkpointing in (False, True):
        with LiveBytes(*model.parameters()) as live:
            measure_statistics(model, row, "R", checkpointing=checkpointing)
        peaks.append(live.peak)
    assert peaks[1] < peaks[0] / 3


def test_automatic_checkpointing_follows_the_free_memory(tiny, ids, monkeypatch):
    chosen = []
    plain = room._measure

    def noted(*args):
        chosen.append(args[7])
        return plain(*args)

    monkeypatch.setattr(room, "_measure", noted)
    need = 2 * Shapes.of(tiny).saved(12) + 4 * Shapes.of(tiny).prunable
    for free in (2 * need, need // 2):
        monkeypatch.setattr(room, "free_memory", lambda device, free=free: free)
        measure_statistics(tiny, ids)
    assert chosen == [False, True]


def test_out_of_memory_turns_checkpointing_on_once(tiny, ids, monkeypatch):
    expected = measure_statistics(tiny, ids, checkpointing=False)
    attempts = []
    plain = room._measure

    def hungry(*args):
        attempts.append(args[7])
        if len(attempts) <= failures:
            raise torch.OutOfMemoryError("no")
        return plain(*args)

    monkeypatch.setattr(room, "_measure", hungry)
    failures = 1
    same(expected, measure_statistics(tiny, ids))
    assert attempts == [False, True]
    failures = 9
    attempts.clear()
    with pytest.raises(OutOfDeviceMemory, match="set memory=blockwise"):
        measure_statistics(tiny, ids)
    assert attempts == [False, True]
    attempts.clear()
    with pytest.raises(OutOfDeviceMemory):
        measure_statistics(tiny, ids, checkpointing=False)
    assert attempts == [False]


def test_a_model_that_cannot_be_cut_is_not_measured_block_by_block(tiny, ids, monkeypatch):
    uncut = CausalHead(tiny, None, tiny.lm_head)
    monkeypatch.setattr(CausalHead, "of", classmethod(lambda cls, model: uncut))
    measure_statistics(tiny, ids, checkpointing=False)
    with pytest.raises(UserError, match=r"calibration\.checkpointing=false"):
        measure_statistics(tiny, ids, checkpointing=True)
