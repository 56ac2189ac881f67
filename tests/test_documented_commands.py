"""Every command and every Python block of README and docs runs, or says what it needs to run.

Unmarked shell lines run for real, in the order of their page, on the tiny model and a text of the
tests, with sizes cut down. Marked ones (``<!-- needs: weights -->``) are composed: their settings
exist and fit.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import tomllib
from itertools import groupby
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from pruner_zero.__main__ import COMMANDS, main
from pruner_zero.commands.launch import check_overrides, config_dir
from pruner_zero.commands.quoting import quote_formulas
from pruner_zero.commands.schema import register_schemas
from pruner_zero.commands.search import check_settings

from .documents import ROOT, Fence, fences

SHELL = fences("bash")
PYTHON = fences("python")

# What a command is given instead of what stands in the documents. Settings of these names, and of
# groups below them, are dropped there first.
_WINDOWS = {"windows": "1", "length": "32"}
_COMMON = {
    "model": "random-tiny",
    "corpus": "files",
    "corpus.files": "[text.txt]",
    "calibration": "quick",
    "calibration.sequences": "2",
    "calibration.length": "32",
    "device": "cpu",
}
_SHRUNK = {
    "search": {
        **_COMMON,
        "fitness": "quick",
        "fitness.windows": "1",
        "fitness.length": "32",
        "validation.windows": "1",
        "validation.length": "32",
        "fitness.domains": "[]",  # other corpora would be fetched
        "validation.domains": "[]",
        "test.windows": "1",
        "test.length": "32",
        "test.baselines": "[wanda]",
        "search.population_size": "12",  # of experiment=wide, whose known metrics are as many
        "search.generations": "1",
        "search.minutes": "1",
    },
    "compare": {**_COMMON, **_WINDOWS},
    "plan": {**_COMMON, **_WINDOWS, "resolution": "0.3"},
    "prune": {**_COMMON, **_WINDOWS},
    "bench": {
        **{key: _COMMON[key] for key in ("model", "device", "calibration")},
        **_WINDOWS,
        "calibration.sequences": "2",
        "calibration.length": "32",
        "metrics": "[wanda]",
        "repeats": "1",
    },
    "show": {},
    "ledger": {},
    "report": {},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, text_file):
    """A folder with all that the documents take for granted: texts, operators, a run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "articles").mkdir()
    for name in ("text.txt", "notes.txt", "mine.txt", "articles/one.txt"):
        shutil.copy(text_file, folder / name)
    for fence in PYTHON:
        if fence.text.startswith("# mine.py"):
            (folder / "mine.py").write_text(fence.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNER_ZERO_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        assert main(["search", *shrink("search", ["hydra.run.dir=runs/NAME"])]) == 0
    for name in ("ONE", "OTHER", "sweep_NAME/0"):
        shutil.copytree(folder / "runs" / "NAME", folder / "runs" / name)
    return folder


def shrink(command: str, given: list[str]) -> list[str]:
    """Replace what would take long or need more than this machine has."""
    mine = _SHRUNK[command]
    own = {key for key in mine if key in _COMMON and "." not in key}
    kept = [
        word
        for word in given
        if word.partition("=")[0] not in mine and word.partition(".")[0] not in own
    ]
    return [*kept, *(f"{key}={value}" for key, value in mine.items())]


def pages() -> list[tuple[str, list[Fence]]]:
    return [(page, list(group)) for page, group in groupby(SHELL, lambda fence: fence.page)]


@pytest.mark.parametrize(("page", "group"), [pytest.param(p, g, id=p) for p, g in pages()])
def test_commands_run(page, group, home, tmp_path, monkeypatch, capsys, own_words):
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("PRUNER_ZERO_CACHE", str(home / "cache"))
    for fence in group:
        for number, words in enumerate(fence.commands()):
            if words[0] == "pruner-zero" and not fence.needs and words[1] in COMMANDS:
                command, given = words[1], words[2:]
                # Folders are named after the second, and two of these runs can share one.
                place = {"search": "hydra.run.dir", "compare": "output", "plan": "output",
                         "bench": "output"}  # fmt: skip
                if command in place and not any(w.startswith(place[command]) for w in given):
                    given.append(f"{place[command]}=runs/{fence.line}_{number}")
                if "--help" not in given:
                    given = shrink(command, given)
                status = main([command, *given])
                assert status == 0, f"{fence}: {' '.join(words)}\n{capsys.readouterr().err}"
                GlobalHydra.instance().clear()


@pytest.mark.parametrize("fence", SHELL, ids=str)
def test_commands_are_known(fence, capsys, own_words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if fence.needs == "a cluster" and not (config_dir() / "workers").is_dir():
        pytest.skip("workers are not there yet")
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in fence.commands():
        while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]  # a variable for this command alone
        program, rest = words[0], words[1:]
        if program == "make":
            assert re.search(rf"^{rest[0]}:", makefile, re.M), f"{fence}: {words}"
        elif program == "pip":
            for extra in re.findall(r"pruner-zero\[(\w+)\]", " ".join(rest)):
                assert extra in extras["optional-dependencies"], f"{fence}: {words}"
        elif program == "pruner-zero" and rest[0] in COMMANDS and "--help" not in rest:
            if "-m" in rest:
                register_schemas()
                # The reader of a command for SLURM has it.
                monkeypatch.setattr("pruner_zero.commands.launch.which", lambda name: name)
                check = check_settings if rest[0] == "search" else None
                overrides = [quote_formulas(w) for w in rest[1:] if w != "-m"]
                check_overrides(rest[0], overrides, check=check)
                continue
            status = main([*rest, "--cfg", "job"])
            assert status == 0, f"{fence}: {words}\n{capsys.readouterr().err}"
        elif program == "pruner-zero":
            assert rest[0] in (*COMMANDS, "--help", "report"), f"{fence}: {words}"
        else:
            assert fence.needs, f"{fence}: '{program}' is not run: mark what it needs"


@pytest.mark.parametrize("fence", [fence for fence in PYTHON if not fence.needs], ids=str)
def test_python_runs(fence, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    monkeypatch.setenv("PRUNER_ZERO_CACHE", str(home / "cache"))
    text = fence.text.replace('"smollm2-135m"', '"random-tiny"')
    text = text.replace('load_corpus("wikipedia")', 'load_corpus("files", ["text.txt"])')
    path = tmp_path / "block.py"
    path.write_text(text)
    runpy.run_path(str(path))
    if "print(" in text:
        assert float(capsys.readouterr().out) > 1


@pytest.mark.parametrize("fence", SHELL, ids=str)
def test_a_shell_can_read_it(fence):
    assert subprocess.run(["bash", "-n"], input=fence.text, text=True, check=False).returncode == 0


def test_there_is_something_to_run():
    assert len(SHELL) > 10 and len(PYTHON) > 2
    assert {fence.page for fence in SHELL} >= {"README.md", "docs/tutorial.md"}
    assert Path(ROOT / "docs" / "tutorial.md").read_text().count("```") % 2 == 0
