"""The reference cannot drift: what it says is read from the code, and says something everywhere."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from pruner_zero.__main__ import COMMANDS
from pruner_zero.metric import OPERATORS, TERMINALS

from .documents import PAGES, ROOT


@pytest.fixture(scope="module")
def generated():
    spec = spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    sys.modules["generated"] = module  # its dataclasses look for it there, as under mkdocs
    spec.loader.exec_module(module)
    return module


def test_every_setting_of_every_command_says_what_it_does(generated):
    settings = list(generated.every_setting())
    assert {name for name, _ in settings} == set(COMMANDS)
    assert [f"{name}: {row.key}" for name, row in settings if not row.meaning] == []


def test_settings_show_defaults_as_they_are_composed(generated):
    shown = generated.settings()
    assert "| `search.population_size` | `16` | individuals kept. |" in shown  # of the file
    assert "| `search.hall_of_fame` | `10` |" in shown  # of the schema
    assert "| `output` | to be given | the new folder" in shown
    assert "- `calibration=full`: The paper's size." in shown


def test_commands_and_words_are_all_there(generated):
    shown = generated.commands()
    assert [name for name in COMMANDS if f"## {name}\n" not in shown] == []
    language = generated.language()
    words = [*TERMINALS, *OPERATORS]
    assert [word for word in words if f"| `{word}` |" not in language] == []


def test_pages_have_their_generated_parts(generated):
    marks = [m for page in PAGES for m in re.findall(r"generated: (\w+) -->", page.read_text())]
    assert sorted(marks) == sorted(generated.GENERATORS)
    text = generated.on_page_markdown("before\n<!-- generated: language -->\nafter")
    assert text.startswith("before\n## Terminals") and text.endswith("|\nafter")
