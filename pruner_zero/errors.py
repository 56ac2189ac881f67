"""The one exception that users see: a single line that says what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Sequence


class UserError(Exception):
    """A mistake that the user can mend. Commands print its message alone, never a traceback."""


class OutOfDeviceMemory(UserError):
    """The device's memory does not suffice; smaller settings, or other ``memory``, may."""


def check_distinct(setting: str, values: Sequence[Hashable]) -> None:
    """Refuse a list that names something twice.

    Args:
        setting: its name.
        values: what it holds.

    Raises:
        UserError: names the first repeat.
    """
    for place, value in enumerate(values):
        if value in values[:place]:
            raise UserError(f"{setting} names {value} twice: drop one")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a sentence tail that helps with an unknown name.

    Args:
        name: what the user wrote.
        known: the valid names.

    Returns:
        ``"did you mean 'wanda'?"`` when a valid name is near, otherwise ``"choose from: …"``.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"choose from: {', '.join(names)}"
