"""Fixtures for the complete program on the tiny model, without network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pruner_zero.metric import operators, own_operators

# How long one example takes says something about the machine's load, nothing about the code.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

SENTENCES = (
    "The river runs past the old mill and turns north at the bridge.",
    "In winter the valley is quiet, and snow lies on the roofs of the village.",
    "A formula gives every weight a score; the lowest scores are dropped.",
    "She wrote the letter twice, burned the first and kept the second.",
)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file large enough for all four splits."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    pieces = [
        f"Chapter {number}. " + " ".join(SENTENCES[(number + k) % 4] for k in range(12))
        for number in range(60)
    ]
    path.write_text("\n\n".join(pieces))
    return path


@pytest.fixture
def tiny_arguments(text_file: Path, tmp_path: Path) -> list[str]:
    """Overrides that run a search on the tiny model and a text of our own, in a second."""
    return [
        "experiment=tiny",
        "corpus=files",
        f"corpus.files=[{text_file}]",
        f"cache={tmp_path / 'cache'}",
        "device=cpu",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]


@pytest.fixture
def own_words(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test may add operators to the language; they are gone after it."""
    monkeypatch.setattr(own_operators, "_read", {})
    before = dict(operators._table)
    yield
    operators._table.clear()
    operators._table.update(before)
