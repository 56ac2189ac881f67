"""What people type against what Hydra takes: bare formulas, and words that are no settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import create_functions

# A call of anything but Hydra's own functions: users may have operators of their own.
_CALL = re.compile(rf"(?!(?:{'|'.join(create_functions().functions)})\()[A-Za-z]\w*\(")
_PLAIN = re.compile(r"[\w./:@+~-]+")
_BEFORE = "=[,{: "
_TAIL = re.compile(r"(@\w+)?(\+\w+)?(?=\s*([],}]|$))")


def quote_formulas(override: str) -> str:
    """Put every bare formula of an override into quotes.

    ``methods=[wanda,mul(W,G)@model]`` becomes ``methods=[wanda,'mul(W,G)@model']``. What is inside
    quotes already, and what has no closing bracket, stays as it is.

    Args:
        override: one ``key=value``, as Hydra takes it.
    """
    done: list[str] = []
    position = 0
    while position < len(override):
        character = override[position]
        if character in "'\"":
            closing = override.find(character, position + 1)
            stop = len(override) if closing < 0 else closing + 1
            done.append(override[position:stop])
            position = stop
            continue
        found = _CALL.match(override, position)
        begins = position == 0 or override[position - 1] in _BEFORE
        bracket = _closing(override, found.end()) if found and begins else None
        tail = _TAIL.match(override, bracket) if bracket else None
        if tail is None:
            done.append(character)
            position += 1
            continue
        done.append(f"'{override[position : tail.end()]}'")
        position = tail.end()
    return "".join(done)


def split_positional(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell words such as folders from settings.

    Args:
        arguments: a command line without flags.

    Returns:
        The words: what has no ``=``, or is an existing path all the same; and the settings.
    """
    words = [a for a in arguments if "=" not in a or Path(a).exists()]
    return words, [a for a in arguments if a not in words]


def as_list(key: str, words: Sequence[str]) -> str:
    """Return an override that sets a key to a list of words, whatever characters they hold."""
    return f"{key}=[" + ",".join(map(_quoted, words)) + "]"


def as_typed(settings: Mapping[str, Any]) -> str:
    """Return settings as a shell takes them, such as ``seed=3 metric='mul(W,G)'``.

    Args:
        settings: values by dotted key.
    """
    return " ".join(
        f"{key}={shlex.quote(override_value(value))}" for key, value in settings.items()
    )


def override_value(value: Any) -> str:
    """Write a setting's value as an override has it, before the shell's own quotes.

    Args:
        value: a number, a text, a truth value, None, or a list of these.
    """
    if isinstance(value, list):
        return "[" + ",".join(map(override_value, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    tight = value.replace(" ", "")
    if quote_formulas(f"={tight}") == f"='{tight}'":
        return tight  # a formula, which needs no quotes
    return value if _PLAIN.fullmatch(value) else _quoted(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _closing(text: str, start: int) -> int | None:
    """The index after the bracket that closes the one before ``start``."""
    depth = 1
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index + 1
    return None
