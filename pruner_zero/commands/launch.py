"""From a command line to a job: Hydra composes, mistakes become one line before any work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import hydra
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pruner_zero.commands.quoting import as_list, quote_formulas, split_positional
from pruner_zero.commands.schema import register_schemas
from pruner_zero.commands.sweep_failures import how_a_sweep_goes_on, note_failure
from pruner_zero.errors import UserError, suggest
from pruner_zero.files import as_typed

# Launchers of sweeps that are extras, by what Hydra calls them.
_LAUNCHERS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray-launcher",
}
_OPTIONAL = ("experiment",)  # groups of which there may be none
_UNKNOWN_KEY = re.compile(r"Key '(\w+)' (?:is )?not in ")
Task = Callable[[DictConfig, Path], None]
Check = Callable[[DictConfig], None]


def config_dir() -> Path:
    """The folder of Hydra configs: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def launch(
    command: str,
    task: Task,
    arguments: list[str],
    positional: str | None = None,
    check: Check | None = None,
) -> int:
    """Run a command.

    Args:
        command: its name, which is also its config's.
        task: gets the composed config and the output folder.
        arguments: what follows the command's name: overrides and Hydra's own flags.
        positional: the list setting that words without ``=`` belong to, if there is one.
        check: see `check_overrides`.

    Returns:
        The exit status: 0, 2 for the user's mistake, 130 when interrupted.
    """
    register_schemas()
    try:
        # Hydra wants its flags before the overrides; people write them in any order.
        parsed = get_args_parser().parse_intermixed_args(arguments)
        if parsed.multirun and parsed.cfg:
            raise UserError("-m runs a sweep and --cfg prints one configuration: drop one of them")
        given = parsed.overrides
        overrides = [
            quote_formulas(o) for o in (_named(given, positional) if positional else given)
        ]
        arguments = [a for a in arguments if a not in given] + overrides
        check_overrides(command, overrides, parsed.config_dir, check)
        program, sys.argv = sys.argv, [f"pruner-zero {command}", *arguments]
        try:
            _main(command, task)()
        finally:
            sys.argv = program
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1
    return 0


def _named(given: list[str], key: str) -> list[str]:
    """Return a command line whose words are the values of a list setting."""
    words, settings = split_positional(given)
    if not words:
        return settings
    if any(setting.startswith(f"{key}=") for setting in settings):
        raise UserError(f"name the {key} either as words or with {key}=, not both")
    return [*settings, as_list(key, words)]


def _main(command: str, task: Task) -> Callable[[], Any]:
    @hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=command)
    def job(cfg: DictConfig) -> None:
        # Hydra prints a stack trace for exceptions; a user's mistake leaves before it sees one.
        output = as_typed(Path(HydraConfig.get().runtime.output_dir))
        try:
            task(cfg, output)
        except SystemExit as ending:
            if ending.code == 130:
                _say_how_a_sweep_goes_on(command)
            raise
        except UserError as error:
            _fail(command, str(error))
        except torch.OutOfMemoryError as error:
            _fail(
                command,
                f"out of memory ({_first_line(error)}): set memory=blockwise, "
                "model.dtype=bfloat16, shorter windows (fitness.length, test.length, length), or "
                "device=cpu",
            )
        except torch.AcceleratorError as error:
            _fail(
                command,
                f"the device failed ({_first_line(error)}): start the command again; "
                "a search goes on after its last complete candidate with resume=auto",
                process_is_lost=True,
            )
        finally:
            # Hydra makes the folder first; a mistake or a resumed run leaves nothing in it.
            # Commands without a folder of their own are given the current one, which stays.
            if output != Path() and not any(output.iterdir()):
                output.rmdir()

    return job


def _fail(command: str, message: str, *, process_is_lost: bool = False) -> None:
    """End a job whose mistake is one line; a sweep of searches goes on with its other jobs.

    Args:
        command: its name.
        message: what is wrong.
        process_is_lost: nothing more can run in this process; a sweep that runs its jobs here, one
            after the other, ends with this one.

    Raises:
        SystemExit: not in a sweep that goes on.
    """
    print(f"error: {message}", file=sys.stderr)
    job = HydraConfig.get()
    if not _in_a_sweep(command):
        raise SystemExit(2) from None
    if process_is_lost and job.runtime.choices["hydra/launcher"] == "basic":
        _say_how_a_sweep_goes_on(command)
        raise SystemExit(2) from None
    note_failure(Path(job.sweep.dir), job.job.num, message)


def _in_a_sweep(command: str) -> bool:
    return command == "search" and HydraConfig.get().mode == RunMode.MULTIRUN


def _say_how_a_sweep_goes_on(command: str) -> None:
    if _in_a_sweep(command):
        print(how_a_sweep_goes_on(Path(HydraConfig.get().sweep.dir)))


def check_overrides(
    command: str,
    overrides: list[str],
    more: str | None = None,
    check: Check | None = None,
) -> None:
    """Compose before anything runs, and explain in one line what does not fit.

    Args:
        command: the config's name.
        overrides: as given on the command line; of a sweep every value is tried, beside the first
            ones of the other swept settings.
        more: a folder of further configs, as given with ``--config-dir``.
        check: finds what is wrong with a composed configuration of a sweep, before its jobs start;
            a single run finds it itself.

    Raises:
        UserError: unknown key or group option (with the nearest valid name), wrong type, or an
            override that cannot be parsed.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        key, _, value = error.override.partition("=")
        quoted = "['…']" if value.startswith("[") else "'…'"
        raise UserError(
            f"cannot read the override {error.override}: quote a value that holds more than plain "
            f'letters and digits, for the shell and for Hydra: "{key}={quoted}"'
        ) from error
    if more is not None and not Path(more).is_dir():
        raise UserError(f"--config-dir {more} is no folder")
    swept = any(override.is_sweep_override() for override in parsed)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            for number, singles in enumerate(_variants(parsed)):
                whole, composed = _composed(command, parsed, singles, more)
                if number == 0:  # Hydra's own part is one for the whole sweep
                    _check_place(whole.hydra, swept)
                    _check_launcher(whole.hydra)
                if swept and check:
                    check(composed)
    finally:
        GlobalHydra.instance().clear()


def _composed(
    command: str, parsed: list[Override], singles: list[str], more: str | None
) -> tuple[DictConfig, DictConfig]:
    """A configuration with Hydra's own part, and without.

    Raises:
        UserError: it cannot be composed, or lacks a value.
    """
    places = [f"hydra.searchpath=[file://{Path(more).resolve()}]"] if more else []
    try:
        whole = compose(command, [*singles, *places], return_hydra_config=True)
        composed = whole.copy()
        with open_dict(composed):
            del composed["hydra"]
        OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # Hydra raises a ValueError of its own for calibration=128.
        raise _explained(command, parsed, singles, error, more) from error
    if missing := sorted(OmegaConf.missing_keys(composed)):
        key = missing[0]
        raise UserError(f"{key} is not given: add {key}=… (pruner-zero {command} --help)")
    return whole, composed


def _variants(parsed: list[Override]) -> Iterator[list[str]]:
    """Overrides of single runs in which every value of every swept setting comes up."""
    values = [_values(override) for override in parsed]
    first = [own[0] for own in values]
    yield first
    for place, own in enumerate(values):
        for value in own[1:]:
            yield [*first[:place], value, *first[place + 1 :]]


def _check_place(own: DictConfig, swept: bool) -> None:
    """Refuse an output folder that Hydra could not make: it would answer with a traceback."""
    try:
        place = Path(own.sweep.dir if swept else own.run.dir)
    except OmegaConfBaseException:
        return  # a name that is known when the job runs
    if place == Path():
        return  # commands without a folder of their own
    there = next(path for path in (place, *place.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{place} cannot be a folder: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{place} cannot be written: {there} is read-only for this user")


def _check_launcher(own: DictConfig) -> None:
    """Refuse a cluster that is not there: submitit would answer with a traceback."""
    if own.runtime.choices.get("hydra/launcher") == "submitit_slurm" and not which("srun"):
        raise UserError(
            "hydra/launcher=submitit_slurm: there is no SLURM here (no srun): start it on a login "
            "node, or take submitit_local"
        )


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [f"{override.key_or_group}={one}" for one in override.sweep_string_iterator()]
    return [override.input_line or ""]


def _explained(
    command: str,
    parsed: list[Override],
    singles: list[str],
    error: Exception,
    more: str | None,
) -> UserError:
    known = list(_keys(compose(command)))
    groups = _groups(config_dir()) | (_groups(Path(more)) if more else {})
    for override, single in zip(parsed, singles, strict=False):
        key = override.key_or_group
        if key == "hydra/launcher" and key in str(error):
            return _no_launcher(single.partition("=")[2])
        if key.startswith("hydra"):
            continue
        if key in groups:
            optional = ["null"] if key in _OPTIONAL else []
            if str(value := single.partition("=")[2]) not in [*groups[key], *optional]:
                return UserError(
                    f"no {key} config is called '{value}': "
                    + (_as_path(key, value) or suggest(value, groups[key]))
                )
        elif key not in known and not any(k.startswith(f"{key}.") for k in known):
            return UserError(f"unknown setting '{key}': {suggest(key, known)}")
        else:
            try:
                compose(command, [single])
            except (HydraException, OmegaConfBaseException) as reason:
                text = _first_line(reason.__cause__ or reason)
                if "is not a ListConfig" in text:
                    text = f"it takes a list: {key}=[{single.partition('=')[2]}]"
                elif unknown := _UNKNOWN_KEY.match(text):
                    node = OmegaConf.select(compose(command), key)
                    text = f"unknown '{unknown[1]}': {suggest(unknown[1], map(str, node))}"
                return UserError(f"{single}: {text}")
    return UserError(_first_line(error.__cause__ or error))


def _as_path(group: str, value: str) -> str:
    """How to write what is a path and no config; empty for what is none."""
    path = value.strip("'\"")
    there = Path(path).expanduser().exists()
    if group == "model" and (there or path.count("/") == 1):
        return f"write model=hub model.path={value}"
    if group == "corpus" and there:
        return f"write corpus=files corpus.files=[{value}]"
    return ""


def _no_launcher(name: str) -> UserError:
    if name in _LAUNCHERS:
        return UserError(
            f"hydra/launcher={name} is not installed: pip install 'pruner-zero[{_LAUNCHERS[name]}]'"
        )
    return UserError(f"no launcher is called '{name}': {suggest(name, ['basic', *_LAUNCHERS])}")


def _groups(folder: Path) -> dict[str, list[str]]:
    """The groups in a folder of configs, with the names of their options."""
    return {
        group.name: sorted(path.stem for path in group.glob("*.yaml"))
        for group in folder.iterdir()
        if group.is_dir()
    }


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in config:
        name = f"{prefix}{key!s}"
        yield name
        child = None if OmegaConf.is_missing(config, key) else config[key]
        if isinstance(child, DictConfig):
            yield from _keys(child, f"{name}.")


def _first_line(error: BaseException) -> str:
    lines: Iterable[str] = str(error).strip().splitlines() or [type(error).__name__]
    return next(iter(lines)).strip()
