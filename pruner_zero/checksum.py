"""SHA-256 of files, hashed once per change of the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, size: int, sha256: str) -> bool:
    """Whether a file has the expected content.

    Args:
        path: an existing file.
        size: expected length in bytes.
        sha256: expected SHA-256, hex.

    Returns:
        True when both agree. The verdict is noted in ``<file>.verified`` together with size and
        modification time, and trusted until one of them changes.
    """
    if path.stat().st_size != size:
        return False
    try:
        if json.loads(_note(path).read_text()) == _stamp(path, sha256):
            return True
    except (OSError, ValueError):
        pass  # no note yet, or an unreadable one: hash the file
    if sha256_of(path) != sha256:
        return False
    note_verified(path, sha256)
    return True


def note_verified(path: Path, sha256: str) -> None:
    """Record beside a file that it was verified; a read-only folder only costs a hash later."""
    try:
        _note(path).write_text(json.dumps(_stamp(path, sha256)))
    except OSError:
        return


def _stamp(path: Path, sha256: str) -> dict[str, object]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".verified")
