"""The parts of these pages that are read from the code: a hook of mkdocs.

A page holds ``<!-- generated: NAME -->`` where the text of `NAME` belongs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from griffe import Docstring, DocstringSectionKind
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from pruner_zero.__main__ import COMMANDS
from pruner_zero.commands.launch import config_dir
from pruner_zero.commands.schema import register_schemas
from pruner_zero.metric import KNOWN_METRICS, OPERATOR_SETS, TERMINAL_SETS, TERMINALS
from pruner_zero.metric.operators import operator_set

_MARK = re.compile(r"<!-- generated: (\w+) -->")
_COMMENT = re.compile(r"^\s*([\w.]+):.*?\s#\s+(.*)$")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting: its key in its section, its default as YAML, and what it does."""

    key: str
    default: str
    meaning: str


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts into a page; called by mkdocs."""
    return _MARK.sub(lambda match: GENERATORS[match.group(1)](), markdown)


def commands() -> str:
    """The help text of every command."""
    parts = []
    for name, meaning in COMMANDS.items():
        text = import_module(f"pruner_zero.commands.{name}").HELP
        parts.append(f"## {name}\n\n{meaning.capitalize()}.\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def settings() -> str:
    """Tables of the settings that commands share, then of every command's own."""
    shared: dict[str, list[Setting]] = {}
    own: dict[str, tuple[list[Setting], list[str]]] = {}
    for name in COMMANDS:
        own[name] = _command_settings(name, shared)
    parts = ["## Shared groups\n"]
    for section, rows in shared.items():
        parts.append(f"### {section}\n")
        if options := _options(section):
            parts.append(options)
        parts.append(_table(rows))
    for name, (rows, sections) in own.items():
        parts.append(f"## {name} {{: #command-{name} }}\n")
        if sections:
            links = ", ".join(f"[`{s}`](#{s.replace('.', '')})" for s in sections)
            parts.append(f"Groups: {links}.\n")
        parts.append(_table(rows))
    return "\n".join(parts)


def language() -> str:
    """Tables of terminals, operators and known metrics."""
    sets = {"terminals": TERMINAL_SETS, "operators": OPERATOR_SETS}
    lines = ["## Terminals", "", "| name | set | what it is |", "| --- | --- | --- |"]
    for terminal in TERMINALS.values():
        where = _first_set(sets["terminals"], terminal.name)
        lines.append(f"| `{terminal.name}` | {where} | {_cell(terminal.meaning)} |")
    lines += ["", "## Operators", "", "| name | arguments | set | value |"]
    lines.append("| --- | --- | --- | --- |")
    for one in operator_set("wide"):
        where = _first_set(sets["operators"], one.name)
        lines.append(f"| `{one.name}` | {one.arity} | {where} | {_cell(one.meaning)} |")
    lines += ["", "## Known metrics", "", "| name | formula | scope | source |"]
    lines.append("| --- | --- | --- | --- |")
    for name, known in KNOWN_METRICS.items():
        lines.append(f"| {name} | `{known.formula}` | {known.scope} | {_cell(known.source)} |")
    return "\n".join(lines)


GENERATORS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "language": language,
}


def _command_settings(
    name: str, shared: dict[str, list[Setting]]
) -> tuple[list[Setting], list[str]]:
    """A command's own settings and the names of its groups, which are added to ``shared``."""
    register_schemas()
    schema = OmegaConf.get_type(ConfigStore.instance().load(f"{name}_schema.yaml").node)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        composed = compose(name)
    sections: list[str] = []

    def rows(kind: Any, values: Any, section: str) -> list[Setting]:
        found = []
        meanings = _meanings(kind)
        for field in dataclasses.fields(kind):
            path = f"{section}.{field.name}" if section else field.name
            nested = _dataclass_of(kind, field)
            if nested is not None:
                sections.append(path)
                shared.setdefault(path, [])  # before its own groups
                shared[path] = rows(nested, values[field.name], path)
                continue
            meaning = meanings.get(field.name) or _comment(name, section, field.name)
            found.append(Setting(path, _shown(values, field.name), meaning))
        return found

    return rows(schema, composed, ""), sections


def _dataclass_of(kind: Any, field: dataclasses.Field[Any]) -> Any:
    """The dataclass that a field holds, or None."""
    default = getattr(kind(**_needed(kind)), field.name)
    return type(default) if dataclasses.is_dataclass(default) else None


def _needed(kind: Any) -> dict[str, Any]:
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return {f.name: None for f in fields if f.default is missing and f.default_factory is missing}


def _meanings(kind: Any) -> dict[str, str]:
    """What the ``Attributes`` of a dataclass's docstrings say, the base classes' too."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        text = one.__dict__.get("__doc__")
        if not text or not dataclasses.is_dataclass(one):
            continue
        for section in Docstring(text, parser="google").parse(warnings=False):
            if section.kind is DocstringSectionKind.attributes:
                found |= {entry.name: entry.description for entry in section.value}
    return found


def _comment(command: str, section: str, key: str) -> str:
    """The comment beside a key in the command's own file or its group's, else in the search's."""
    group = section.partition(".")[0]
    first = [config_dir() / f"{command}.yaml", *sorted((config_dir() / group).glob("*.yaml"))]
    for path in [*first, config_dir() / "search.yaml"]:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            match = _COMMENT.match(line)
            if match and match.group(1) == key:
                return " ".join([match.group(2), *_goes_on(lines[number + 1 :])])
    return ""


def _goes_on(lines: list[str]) -> Iterator[str]:
    """The lines of a comment below its first, which are indented and hold nothing else."""
    for line in lines:
        if not re.match(r"\s+#\s", line):
            return
        yield line.strip().removeprefix("#").strip()


def _shown(values: Any, key: str) -> str:
    if OmegaConf.is_missing(values, key):
        return "to be given"
    raw = OmegaConf.to_container(values, resolve=False)
    value = raw[key] if isinstance(raw, dict) else None
    text = {None: "null", True: "true", False: "false"}.get(
        value if isinstance(value, bool | None) else "", str(value).replace("'", "")
    )
    return f"`{text}`"


def _options(section: str) -> str:
    """The files of a group of configs, with the comment at their head."""
    lines = []
    for path in sorted((config_dir() / section).glob("*.yaml")):
        head = path.read_text(encoding="utf-8").splitlines()
        meaning = []
        for line in head:
            if not line.startswith("# ") or line.startswith("# @"):
                break
            meaning.append(line.removeprefix("# "))
        lines.append(f"- `{section}={path.stem}`" + (f": {' '.join(meaning)}" if meaning else ""))
    return "\n".join(lines) + "\n" if lines else ""


def _table(rows: list[Setting]) -> str:
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{r.key}` | {_cell(r.default)} | {_cell(r.meaning)} |" for r in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _first_set(sets: Any, name: str) -> str:
    return next(iter(label for label, names in sets.items() if name in names))


def every_setting() -> Iterator[tuple[str, Setting]]:
    """Yield every setting with the command that it was found in."""
    for name in COMMANDS:
        shared: dict[str, list[Setting]] = {}
        rows, _ = _command_settings(name, shared)
        for row in [*rows, *(one for group in shared.values() for one in group)]:
            yield name, row
