"""Documents that took long to download or parse, kept as JSON in the cache folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pruner_zero.data.documents import Document
from pruner_zero.errors import UserError
from pruner_zero.files import write_json

Groups = Mapping[str, Sequence[Document]]


def stored_documents(path: Path, make: Callable[[], Groups]) -> Groups:
    """Return groups of documents from a file, making and writing them when it is not there.

    Args:
        path: a JSON file in the cache; its name must change whenever `make` does.
        make: produces the documents, by name of group.

    Returns:
        What `make` returned, now or when the file was written.

    Raises:
        UserError: the cache folder cannot be written.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            group: [Document(title, text) for title, text in pairs]
            for group, pairs in stored.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # not there yet, or damaged: make it (again)
    groups = make()
    content = {group: [[d.title, d.text] for d in members] for group, members in groups.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content, indent=None)
    except OSError as error:
        raise UserError(
            f"cannot write the cache folder {path.parent} ({error.strerror or error}): "
            "set PRUNER_ZERO_CACHE to a folder with room"
        ) from error
    return groups
