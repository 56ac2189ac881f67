"""Writing files and folders that are whole or absent, whatever happens to the process."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


def as_typed(path: Path) -> Path:
    """A path below the current folder, as people would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def is_folder(text: str) -> bool:
    """Whether a text is the path of a folder; one that is too long for a path is not."""
    try:
        return Path(text).is_dir()
    except OSError:
        return False


def append_json(path: Path, record: Any) -> None:
    """Append a value as one line of JSON and flush it to disk; a kill may leave part of the line.

    Raises:
        UserError: the disk is full or the file cannot be written; the lines before are still there.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def check_new_folder(path: Path) -> None:
    """Check, before the work for it begins, that `whole_folder` can give a folder its name.

    Raises:
        UserError: something is in it, or it cannot be replaced by another folder.
    """
    if not path.exists():
        return
    if not path.is_dir() or any(path.iterdir()):
        raise UserError(f"{path} is not empty: give another output")
    if os.path.ismount(path) or path.samefile(Path.cwd()):
        raise UserError(f"{path} cannot be replaced by a new folder: name a folder in it")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder to one side and give it its name at the end: it is complete or not there.

    Args:
        path: the new folder; absent or empty.

    Yields:
        An empty folder beside it, which is removed when anything is raised, Ctrl-C included.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    beside = _beside(path, str(os.getpid()))
    try:
        beside.mkdir(parents=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        # Libraries put what the system says into words of their own.
        reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot write {path}: {reason}; nothing of it was kept") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def left_behind(path: Path) -> list[Path]:
    """Return what `whole_folder` could not remove because its process was killed."""
    return sorted(
        part
        for part in path.parent.glob(_beside(Path(glob.escape(path.name)), "*").name)
        if not _runs(part.name.split(".")[-2])
    )


def _beside(path: Path, process: str) -> Path:
    return path.with_name(f".{path.name}.{process}.part")


def _runs(process: str) -> bool:
    """Whether a process of this number is there."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # of another user
    return True
