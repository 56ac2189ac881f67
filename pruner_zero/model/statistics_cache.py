"""Statistics on disk: measured once per (model, text, settings), read by every later run."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pruner_zero.errors import UserError
from pruner_zero.model.statistics import Statistics

_FORMAT = "2"  # bump when the meaning of a stored tensor changes: old files are then re-measured
_SAMPLES = 4096
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Announce = Callable[[str], None]


def cached_statistics(
    directory: str | Path,
    key_fields: Mapping[str, Any],
    terminals: Collection[str],
    measure: Callable[[frozenset[str]], Statistics],
    announce: Announce | None = None,
) -> Statistics:
    """Read statistics of these very settings from disk, or measure and keep them.

    A file that lacks some of the terminals is completed: only what is missing is measured. It is
    written to one side and renamed, under a lock: a killed run leaves no half file and two runs
    that start together measure once. A damaged file is measured again.

    Args:
        directory: the cache; made when missing.
        key_fields: everything the result depends on (model fingerprint, text, N, length, seed,
            dtype, norm, …), as plain JSON values.
        terminals: what is wanted; those that need no measurement count as there.
        measure: called with the terminals that no good file holds.
        announce: gets one sentence when a file had to be thrown away (by default a warning), and
            one when another process has to be waited for.

    Returns:
        The statistics with at least these terminals, on the CPU as far as read from disk.
    """
    key = json.dumps({**key_fields, "format": _FORMAT}, sort_keys=True, default=str)
    name = hashlib.sha256(key.encode()).hexdigest()
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the cache folder {folder}: {error}: set cache=") from error
    path = folder / f"{name}.safetensors"
    say = announce or (lambda text: warnings.warn(text, stacklevel=3))
    with _locked(path.with_suffix(".lock"), announce):
        stored = Statistics({})
        if path.exists():
            try:
                stored = _read(path, key)
            except (SafetensorError, KeyError, ValueError, OSError) as error:
                say(f"cached statistics {path} are damaged ({error}): measuring them again")
        missing = frozenset(terminals) - stored.terminals()
        if not missing:
            return stored
        measured = measure(missing)
        complete = replace(measured, values={**stored.values, **measured.values})
        try:
            _write(path, key, complete)
        except (OSError, SafetensorError) as error:
            # What took minutes serves this run all the same.
            say(f"the statistics could not be kept in {folder} ({error}): going on without")
        return complete


@contextmanager
def _locked(path: Path, announce: Announce | None) -> Iterator[None]:
    """Hold a lock; say so once when another process has it, for measuring takes a while."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if announce:
            announce("waiting for another run that measures the same statistics")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def model_fingerprint(model: nn.Module) -> str:
    """Identity of a model's configuration and weights, cheap to compute.

    Hashes the configuration, and of every parameter its name, shape, dtype, a strided sample and
    the exact sum of its bits read as integers. Any training step or pruning changes it.

    Args:
        model: a transformers model.

    Returns:
        16 hexadecimal characters.
    """
    folded = hashlib.sha256()
    config: Any = getattr(model, "config", None)
    if config is not None:
        fields = config.to_dict()
        for where_from in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
            fields.pop(where_from, None)
        folded.update(json.dumps(fields, sort_keys=True, default=str).encode())
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        step = max(1, flat.numel() // _SAMPLES)
        # Integers add exactly, in whatever order the threads add them.
        bits = int(flat.view(_INTEGERS[flat.element_size()]).sum(dtype=torch.int64))
        folded.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}{bits}".encode())
        folded.update(flat[::step].float().cpu().numpy().tobytes())
    return folded.hexdigest()[:16]


def _write(path: Path, key: str, statistics: Statistics) -> None:
    tensors = {"losses": statistics.losses}
    for kind, values in statistics.values.items():
        tensors |= {f"{kind}/{name}": value.cpu().contiguous() for name, value in values.items()}
    metadata = {
        "key": key,
        "sequences": str(statistics.sequences),
        "provenance": json.dumps(dict(statistics.provenance)),
    }
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata=metadata)
        with Path(temporary).open("rb") as written:
            os.fsync(written.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _read(path: Path, key: str) -> Statistics:
    values: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(str(path), framework="pt") as stored:
        metadata = stored.metadata() or {}
        if metadata.get("key") != key:
            raise ValueError("written for other settings")
        for full in stored.keys():  # noqa: SIM118 (not a mapping)
            kind, _, name = full.partition("/")
            if name:
                values.setdefault(kind, {})[name] = stored.get_tensor(full)
        return Statistics(
            values,
            int(metadata["sequences"]),
            stored.get_tensor("losses"),
            json.loads(metadata["provenance"]),
        )
