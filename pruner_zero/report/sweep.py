"""What tells several runs apart: the settings that differ, and seeds as their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pruner_zero.report.run import Run

# Where and with what help a run was computed changes nothing that it found.
_ALIKE = ("cache", "ledger", "device", "resume", "hydra", "tracker", "workers")
_SEED = "seed"
# Of settings that change together the one that names the rest.
_NAMES = ("search.algorithm", "model.name", "corpus.name", "sparsity", "simplify", "operators",
          "search.population_size")  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """A setting that was varied.

    Attributes:
        key: its name.
        others: settings that changed together with it.
        levels: its values, in order; numbers by size.
        places: the index into ``levels`` of each run.
    """

    key: str
    others: tuple[str, ...]
    levels: tuple[str, ...]
    places: tuple[int, ...]


def axes(runs: Sequence[Run]) -> list[Axis]:
    """Return the settings in which runs differ, but for seeds; those of most values first."""
    settings = [flat(run.config) for run in runs]
    keys = dict.fromkeys(key for setting in settings for key in setting)
    together: dict[tuple[int, ...], list[str]] = {}
    for key in keys:
        if key == _SEED or key.split(".")[0] in _ALIKE:
            continue
        values = [_text(setting.get(key)) for setting in settings]
        if len(set(values)) > 1:
            together.setdefault(_pattern(values), []).append(key)
    found = []
    for names in together.values():
        key = next((name for name in _NAMES if name in names), names[0])
        values = [_text(setting.get(key)) for setting in settings]
        levels = tuple(sorted(set(values), key=_order))
        places = tuple(levels.index(value) for value in values)
        found.append(Axis(key, tuple(n for n in names if n != key), levels, places))
    return sorted(found, key=lambda axis: -len(axis.levels))


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed.

    Attributes:
        levels: one index per axis.
        label: the settings in words.
        runs: by seed.
    """

    levels: tuple[int, ...]
    label: str
    runs: tuple[Run, ...]


def groups(runs: Sequence[Run], varied: Sequence[Axis]) -> list[Group]:
    """Return the runs by their settings, seeds together.

    Args:
        runs: all of them.
        varied: their `axes`.
    """
    placed = [(tuple(axis.places[index] for axis in varied), run) for index, run in enumerate(runs)]
    named = _told_by_name(runs, varied)
    found = []
    for levels, members in groupby(sorted(placed, key=lambda p: p[0]), key=lambda p: p[0]):
        seeded = sorted((run for _, run in members), key=lambda run: _order(_text(seed(run))))
        label = ", ".join(
            f"{axis.key.rpartition('.')[2]} {axis.levels[level]}"
            for axis, level in zip(varied, levels, strict=True)
        )
        label = seeded[0].name if named else label or "all runs"
        found.append(Group(levels, label, tuple(seeded)))
    return found


def _told_by_name(runs: Sequence[Run], varied: Sequence[Axis]) -> bool:
    """Whether runs have so little in common that their names say more than one setting.

    Jobs of a sweep are never: their names are numbers.
    """
    names = {run.name for run in runs}
    apart = any(len(axis.others) > 3 and len(axis.levels) == len(runs) for axis in varied)
    return apart and len(names) == len(runs) and not any(name.isdigit() for name in names)


def seed(run: Run) -> Any:
    """The seed of a run, None when its settings are missing."""
    return run.setting(_SEED)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return "none" if value is None else str(value)


def _pattern(values: Sequence[str]) -> tuple[int, ...]:
    """Which runs share a value: equal for settings that change together."""
    first: dict[str, int] = {}
    return tuple(first.setdefault(value, len(first)) for value in values)


def _order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
