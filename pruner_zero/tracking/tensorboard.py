"""TensorBoard: event files beside the run, no server needed to write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from pruner_zero.tracking.config import TrackerConfig


class TensorBoard:
    """Scalars and text in ``RUN/tensorboard``, or in ``place/RUN``.

    Args:
        config: the tracker's settings.
        folder: the run folder.
        step: candidates that a resumed run has already; later ones that a kill left are hidden.
    """

    def __init__(self, config: TrackerConfig, folder: Path, step: int) -> None:
        """Open an event file."""
        place = Path(config.place).expanduser() / folder.name if config.place else None
        self.writer: Any = SummaryWriter(
            str(place or folder / "tensorboard"), purge_step=step + 1 if step else None
        )
        self.identity = "events"

    def settings(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`."""
        lines = ["| setting | value |", "| --- | --- |"]
        lines += [f"| {key} | {value} |" for key, value in values.items()]
        self.writer.add_text("settings", "\n".join(lines), 0)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def outcome(self, step: int, text: str, values: Mapping[str, float], files: list[Path]) -> None:
        """See `Tracker`; event files hold no other files, which stay in the run folder."""
        del files
        self.numbers(step, values)
        self.writer.add_text("results", text, step)

    def close(self, complete: bool) -> None:
        """See `Tracker`."""
        del complete
        self.writer.close()
