"""The search command as a test runs it."""

from __future__ import annotations

import pytest

from pruner_zero.__main__ import main


def run(*arguments: str) -> int:
    return main(["search", *arguments])


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.out + printed.err
    return printed.err
