"""Writing files that are whole or absent, whatever happens to the process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pruner_zero.errors import UserError


def write_atomic(path: Path, text: str) -> None:
    """Write to one side, flush to disk, rename: readers see the old file or the new one.

    Raises:
        UserError: the disk is full or the place cannot be written; the old file is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a value as JSON, atomically; NaN and infinity are refused, they are not JSON."""
    write_atomic(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")
