"""What a tracker does, and what keeps a search safe from one that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """A place outside the run folder where a run can be watched."""

    @property
    def identity(self) -> str | None:
        """What finds this run again when it is resumed; None where its place says that."""

    def settings(self, values: Mapping[str, Any]) -> None:
        """Take the resolved settings of a new run, by dotted key."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Take finite numbers at a candidate."""

    def outcome(self, step: int, text: str, values: Mapping[str, float], files: list[Path]) -> None:
        """Take the final table as Markdown, its numbers, and the files of the run folder."""

    def close(self, complete: bool) -> None:
        """End: everything was taken, or the run was stopped before its end."""


class Guarded:
    """A tracker whose first failure is said, and is its last: the search goes on without it.

    Args:
        name: of the tracker, for the message.
        tracker: the tracker; None takes nothing.
        announce: takes the one line.
    """

    def __init__(self, name: str, tracker: Tracker | None, announce: Callable[[str], None]) -> None:
        """Nothing is called yet."""
        self.name = name
        self.tracker = tracker
        self.announce = announce

    def settings(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`."""
        self._try(lambda tracker: tracker.settings(values))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._try(lambda tracker: tracker.numbers(step, values))

    def outcome(
        self, step: int, text: str, values: Mapping[str, float], files: Sequence[Path]
    ) -> None:
        """See `Tracker`."""
        self._try(lambda tracker: tracker.outcome(step, text, values, list(files)))

    def close(self, complete: bool) -> None:
        """See `Tracker`."""
        self._try(lambda tracker: tracker.close(complete))
        self.tracker = None

    def _try(self, action: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            action(self.tracker)
        except Exception as error:
            # Servers, disks and libraries of others fail in ways of their own; none of them is a
            # reason to lose a search.
            self.tracker = None
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            self.announce(
                f"warning: tracker {self.name} failed ({reason[:160]}); the search goes on without "
                "it, and the run folder has everything"
            )
