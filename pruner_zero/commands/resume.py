"""Which run to continue: the one that is named, or the last unfinished one of these settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pruner_zero.commands.flatten import flatten
from pruner_zero.commands.schema import SearchCommandConfig
from pruner_zero.errors import UserError
from pruner_zero.metric.own_operators import OperatorFile
from pruner_zero.search.run_folder import RunFolder

# What may differ between a run and its continuation: how long it goes on, and where.
# Operator files are compared by what is in them.
_FREE = ("resume", "tracker", "operator_files", "device", "memory", "calibration.checkpointing",
         "cache", "ledger", "search.generations", "search.evaluations", "search.minutes",
         "search.stagnation", "test", "validation", "workers.kind", "workers.count",
         "workers.cpus", "workers.gpus", "workers.address")  # fmt: skip
_DEPTH = "workers.in_flight"


def open_run(
    cfg: DictConfig, output: Path, operators: Sequence[OperatorFile] = ()
) -> tuple[RunFolder, bool]:
    """Return the run folder to work in and whether it holds a run to continue (then locked).

    Args:
        cfg: the composed configuration; ``resume`` is null, a run folder, or ``auto``.
        output: the folder of a new run.
        operators: the user's own, as they are now.

    A continued run keeps its number of candidates in flight, on which its course depends, whatever
    number of workers goes on with it: ``cfg`` is set to it.

    Raises:
        UserError: the named folder holds no run, or one of other settings (which are named), or
            another process works in it.
    """
    if cfg.resume == "auto":
        # The folder itself first: hydra.run.dir may be fixed.
        for path in _unfinished(output):
            folder = RunFolder(path)
            same = (
                not _unreadable(folder)
                and not differing(cfg, folder)
                and _same_operators(folder, operators)
            )
            if same and folder.lock():
                return _taken_up(cfg, folder), True
    elif cfg.resume:
        path = Path(cfg.resume)
        try:
            there = (path / "config.yaml").exists()
        except OSError as error:
            raise UserError(f"resume: {path} cannot be read: {error.strerror}") from None
        if not there:
            raise UserError(f"resume: {path} holds no run")
        folder = RunFolder(path)
        if reason := _unreadable(folder):
            raise UserError(f"resume: {folder.config} cannot be read ({reason})")
        keys = differing(cfg, folder)
        if keys:
            raise UserError(f"resume: the run was made with other values of {', '.join(keys)}")
        if not _same_operators(folder, operators):
            files = ",".join(map(str, folder.operator_files()))
            raise UserError(f"resume: the run had other operators: operator_files=[{files}]")
        if not folder.lock():
            raise UserError(f"resume: another process works in {path}")
        return _taken_up(cfg, folder), True
    if (output / "evaluations.jsonl").exists():
        raise UserError(_occupied(cfg, output))
    if output.exists() and not RunFolder(output).is_vacant():
        raise UserError(f"{output} is not empty: choose another folder with hydra.run.dir=")
    return RunFolder(output), False


def _occupied(cfg: DictConfig, output: Path) -> str:
    """Say why no run can begin in the folder of another."""
    folder = RunFolder(output)
    if not _unreadable(folder) and (keys := differing(cfg, folder)):
        return (
            f"{output} already holds a run with other values of {', '.join(keys)}: choose another "
            "folder with hydra.run.dir="
        )
    return f"{output} already holds a run: choose another folder or resume it"


def _unreadable(folder: RunFolder) -> str | None:
    """Why the settings of a run cannot be read; None when they can."""
    try:
        settings = OmegaConf.load(folder.config)
        # Other programs' settings may refer to what is not there.
        OmegaConf.to_container(settings, resolve=True)
        return None if isinstance(settings, DictConfig) else "it holds no settings"
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]


def finished(cfg: DictConfig, output: Path) -> bool:
    """Whether ``resume=auto`` finds this very run complete: a sweep goes on with its other jobs."""
    if cfg.resume != "auto" or not (output / "results.json").exists():
        return False
    folder = RunFolder(output)
    return not _unreadable(folder) and not differing(cfg, folder)


def differing(cfg: DictConfig, folder: RunFolder) -> list[str]:
    """Return the settings that make a run another one than this configuration's."""
    # Where a run is older than a setting, it was made with what is the default now.
    defaults = flatten(OmegaConf.structured(SearchCommandConfig))
    before = defaults | flatten(cast(DictConfig, OmegaConf.load(folder.config)))
    now = flatten(cfg)
    if now[_DEPTH] is None:
        now[_DEPTH] = before.get(_DEPTH)
    return [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
        and not any(key == free or key.startswith(f"{free}.") for free in _FREE)
    ]


def _taken_up(cfg: DictConfig, folder: RunFolder) -> RunFolder:
    # A run that is older than the setting had one candidate in flight.
    cfg.workers.in_flight = folder.setting(_DEPTH) or 1
    return folder


def _same_operators(folder: RunFolder, operators: Sequence[OperatorFile]) -> bool:
    before = [file.read_text(encoding="utf-8") for file in folder.operator_files()]
    return before == [file.text for file in operators]


def _unfinished(output: Path) -> Iterator[Path]:
    """Folders of unfinished runs beside the new one, or beside its sweep, the newest first."""
    roots = (output.parent.glob("*/config.yaml"), output.parent.parent.glob("*/*/config.yaml"))
    found = {file.parent.resolve(): file for root in roots for file in root}
    files = sorted(found.values(), key=lambda f: (f.parent != output, -f.stat().st_mtime))
    for file in files:
        if not (file.parent / "results.json").exists():
            yield file.parent
