"""Where a model's weights live: all on the device, or block by block on a visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from pruner_zero.assets import Announce, silent
from pruner_zero.errors import OutOfDeviceMemory, UserError, suggest
from pruner_zero.model.head import chunk_tokens
from pruner_zero.model.hosted import HostedBlocks, hosted_blocks
from pruner_zero.model.memory import MARGIN, Need, Shapes, Workload, free_memory, predict
from pruner_zero.model.score_stack import CUDA_WINDOW

MEMORY = ("auto", "resident", "blockwise")
Result = TypeVar("Result")


def check_memory(memory: str) -> None:
    """Refuse a value of ``memory`` that does not exist.

    Raises:
        UserError: names the nearest.
    """
    if memory not in MEMORY:
        raise UserError(f"unknown memory '{memory}': {suggest(memory, MEMORY)}")


def choose_memory(
    model: nn.Module,
    device: torch.device,
    memory: str,
    work: Workload,
    announce: Announce = silent,
) -> str:
    """Predict the peak memory of a run, say it in one line, and choose where blocks live.

    Args:
        model: on the CPU or the meta device.
        device: where it will compute.
        memory: ``auto`` takes ``resident`` where that fits and ``blockwise`` elsewhere; the others
            are taken as they are.
        work: what will run.
        announce: takes the line.

    Returns:
        ``resident`` or ``blockwise``.

    Raises:
        UserError: an unknown value, or a choice whose bare weights do not fit the device.
    """
    check_memory(memory)
    shapes = Shapes.of(model)
    work = replace(work, together=CUDA_WINDOW if device.type == "cuda" else 0)
    chunk = chunk_tokens(device, shapes.vocabulary)
    free = free_memory(device)
    if device.type == "cpu" and next(model.parameters()).device.type == "cpu":
        free += shapes.weights  # they are there already
    needs = {name: predict(shapes, work, name, chunk) for name in MEMORY[1:]}
    fits = {name: _total(need, device) * MARGIN <= free for name, need in needs.items()}
    if memory == "auto":
        smaller = fits["blockwise"] or device.type != "cpu"
        memory = "blockwise" if smaller and not fits["resident"] else "resident"
    doubt = "" if fits[memory] else ": may not suffice"
    host = free_memory(torch.device("cpu")) + shapes.weights
    if device.type != "cpu" and needs[memory].host > host:
        doubt = f": the host may not suffice, {_gb(host)} with the weights"
    announce(_line(needs[memory], device, free) + doubt)
    if _bare(needs[memory], device) > free:
        other = needs["blockwise"]
        instead = (
            f"set memory=blockwise ({_gb(other.device)} there)"
            if memory == "resident" and device.type != "cpu"
            else "choose model.dtype=bfloat16 or a smaller model"
        )
        raise UserError(
            f"memory={memory} needs {_gb(_bare(needs[memory], device))} on {device} for weights "
            f"alone, {_gb(free)} are free: {instead}"
        )
    return memory


def place(model: nn.Module, device: torch.device, memory: str) -> None:
    """Put a model where it is to live.

    Args:
        model: anywhere; one whose blocks are hosted stays as it is.
        device: where it computes.
        memory: ``resident`` or ``blockwise``.
    """
    if memory == "blockwise" and hosted_blocks(model) is None:
        HostedBlocks(model, device)
    elif memory == "resident":
        model.to(device)


def with_room(action: Callable[[], Result], make_room: Callable[[], None] | None) -> Result:
    """Do something that may run out of memory.

    Args:
        action: what is done; it can be done again when it fails.
        make_room: called once after a failure, then the action runs again; None when there is no
            room to be made.

    Returns:
        What the action returns.

    Raises:
        OutOfDeviceMemory: there is no room; the message names settings.
    """
    try:
        return action()
    except torch.OutOfMemoryError as error:
        if make_room is None:
            first = str(error).strip().split("\n")[0]
            raise OutOfDeviceMemory(
                f"out of memory ({first}): set memory=blockwise, model.dtype=bfloat16 or shorter "
                "windows"
            ) from error
    except OutOfDeviceMemory:
        if make_room is None:
            raise
    # Outside the clauses above nothing holds the failed attempt's tensors.
    make_room()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return with_room(action, None)


def _total(need: Need, device: torch.device) -> int:
    return need.device + (need.host if device.type == "cpu" else 0)


def _bare(need: Need, device: torch.device) -> int:
    return need.fixed + (need.host if device.type == "cpu" else 0)


def _line(need: Need, device: torch.device, free: int) -> str:
    parts, beside = dict(need.parts), ""
    if need.host and device.type == "cpu":
        parts["all blocks and statistics"] = need.host
    elif need.host:
        beside = f", and {_gb(need.host)} on the host"
    listed = " + ".join(f"{name} {_gb(size)}" for name, size in parts.items() if size)
    return (
        f"memory={need.memory}: predicted peak {_gb(sum(parts.values()))} on {device} ({listed})"
        f"{beside}; {_gb(free)} free"
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
