"""What commands show while they run: a live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pruner_zero.search.algorithms import SearchAlgorithm
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.driver import Progress as SearchProgress
from pruner_zero.search.individual import Candidate, FitnessResult

StepCallback = Callable[[int, int], None]
_LOG_WIDTH = 120


class Pulse:
    """Says where work stands when nothing was said for a while, where no bar can.

    The first line comes after ten seconds, later ones after a thirtieth of the time that has
    passed, so that the log of a long run stays short.
    """

    def __init__(self, display: Display) -> None:
        """Start the clock."""
        self.display = display
        self.start = self.last = time.monotonic()

    def beat(self, line: str) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if now - self.last < max(10.0, (now - self.start) / 30):
            return
        if not self.display.console.is_terminal:
            self.display.say(line)
        self.last = now


class Display:
    """Console output of a command; progress bars only on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to the given console, standard output by default."""
        self.console = console or Console(highlight=False, soft_wrap=True, emoji=False)
        if not console and not self.console.is_terminal:
            self.console.width = _LOG_WIDTH

    def say(self, line: str) -> None:
        """Print one line."""
        self.console.print(line, markup=False)

    def table(self, title: str, header: list[str], rows: list[list[str]]) -> None:
        """Print a table; columns of numbers are set to the right, text to the left."""
        table = Table(title=title, title_justify="left", title_style="bold")
        for name, *cells in zip(header, *rows, strict=True):
            numeric = all(_is_number(cell) for cell in cells)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    @contextmanager
    def steps(self, label: str) -> Iterator[StepCallback]:
        """A bar for work of known length; yields a callback (done, total)."""
        pulse = Pulse(self)
        with self._bar() as bar:
            task = bar.add_task(label, total=None)

            def step(done: int, total: int) -> None:
                state = f"{label} {done}/{total}"
                bar.update(task, completed=done, total=total, description=state)
                if done < total:
                    pulse.beat(f"{state}, {time.monotonic() - pulse.start:.0f} s")

            yield step

    @contextmanager
    def search(self, config: SearchConfig) -> Iterator[SearchObserver]:
        """A live line for a search; yields its observer."""
        with self._bar() as bar:
            task = bar.add_task("searching", total=1.0)
            yield SearchObserver(self, bar, task, config)

    def _bar(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )


class SearchObserver:
    """Shows best so far, candidates done, rate and time left; prints every new best."""

    def __init__(self, display: Display, bar: Progress, task: TaskID, config: SearchConfig) -> None:
        """Made by `Display.search`."""
        self.display = display
        self.bar = bar
        self.task = task
        self.config = config
        self.best = float("inf")
        self.pulse = Pulse(display)

    def __call__(
        self,
        algorithm: SearchAlgorithm,
        candidate: Candidate,
        result: FitnessResult,
        progress: SearchProgress,
    ) -> None:
        """Take one evaluation."""
        share = self._share(progress)
        left = progress.seconds / share * (1 - share) if share > 0 else 0.0
        rate = progress.candidates / max(progress.seconds, 1e-9) * 60
        state = (
            f"best perplexity {algorithm.best_perplexity:,.2f} · candidate {progress.candidates}/"
            f"{self.config.candidates} · {progress.equivalents:.1f} full evaluations · "
            f"{rate:.0f} candidates/min · {left / 60:.1f} min left"
        )
        self.bar.update(self.task, completed=share, description=state)
        self.pulse.beat(state)
        if algorithm.best_perplexity < self.best:
            self.best = algorithm.best_perplexity
            if result.perplexity > self.best:
                return  # the run that is resumed had a better one, and said so
            scope = candidate.individual.scope
            self.display.say(
                f"candidate {candidate.number:>4}: perplexity {self.best:,.2f}  {candidate.metric}"
                + (f"@{scope}" if scope else "")
            )

    def _share(self, progress: SearchProgress) -> float:
        shares = [progress.candidates / self.config.candidates]
        if self.config.evaluations:
            shares.append(progress.equivalents / self.config.evaluations)
        if self.config.minutes:
            shares.append(progress.seconds / (self.config.minutes * 60))
        return min(1.0, max(shares))


def _is_number(cell: str) -> bool:
    """Whether a cell begins like a number, with its sign; an empty one may be among numbers."""
    return cell[:1] in ("", *"0123456789+-±–")
