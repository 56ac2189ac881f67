"""What is said while work goes on, on a terminal and where the output goes to a file."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from pruner_zero.commands import display as module
from pruner_zero.commands.display import Display


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def shown(terminal: bool) -> tuple[Display, io.StringIO]:
    stream = io.StringIO()
    return Display(Console(file=stream, force_terminal=terminal, width=100)), stream


def test_a_log_gets_a_line_after_ten_silent_seconds_and_fewer_later(clock):
    display, stream = shown(terminal=False)
    with display.steps("calibrating") as step:
        for second in range(1, 1001):
            clock.now = float(second)
            step(second, 1000)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["calibrating 10/1000, 10 s", "calibrating 20/1000, 20 s"]
    times = [int(line.split(", ")[1].removesuffix(" s")) for line in lines]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] == 10 and gaps[-1] > 30
    assert all(gap <= max(10, time / 30 + 1) for gap, time in zip(gaps, times[1:], strict=True))


def test_quick_work_says_nothing(clock):
    display, stream = shown(terminal=False)
    with display.steps("validating") as step:
        for index in range(5):
            step(index + 1, 5)
    assert stream.getvalue() == ""


def test_a_terminal_has_a_bar_and_no_lines(clock):
    display, stream = shown(terminal=True)
    with display.steps("calibrating") as step:
        clock.now = 60.0
        step(3, 9)
    assert "calibrating 3/9, 60 s" not in stream.getvalue()
