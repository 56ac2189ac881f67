"""DEAP's operators draw from Python's global generator; a search must own its randomness."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def drawing_from(generator: random.Random) -> Iterator[None]:
    """Let code that uses the ``random`` module draw from ``generator`` inside the block.

    The global state is as before afterwards, so that nothing outside a search disturbs it and a
    search disturbs nothing outside.
    """
    outside = random.getstate()
    random.setstate(generator.getstate())
    try:
        yield
    finally:
        generator.setstate(random.getstate())
        random.setstate(outside)
