"""What a command has measured so far, in a folder: one line each, so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pruner_zero.errors import UserError
from pruner_zero.files import append_json, write_atomic, write_json


class Kept:
    """An append-only log of measurements beside the settings that they depend on.

    Args:
        folder: of ``settings.json`` and the log; `open` makes it.
        log: the log's name, by which a folder of this command is known.
    """

    def __init__(self, folder: Path, log: str) -> None:
        """Touch nothing yet."""
        self.folder = folder
        self.log = folder / log
        self._texts: set[str] = set()
        self._unwritten: dict[str, Any] | None = None  # settings, until something is measured

    def open(
        self, cfg: DictConfig, free: Collection[str], operators: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Make the folder, or take it up; files come with the first measurement.

        Args:
            cfg: the command's configuration.
            free: settings on which no measurement depends.
            operators: SHA-256 of the user's operator files, which count by what is in them.

        Returns:
            What it holds; a line that a kill cut short is left out and removed.

        Raises:
            UserError: it holds something else, or measurements of other settings (named).
        """
        settings = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
        for name in free:
            settings.pop(name)
        settings["calibration"].pop("checkpointing")
        if operators:
            settings["operators"] = list(operators)
        if not self.log.exists():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise UserError(f"{self.folder} is not empty: give another output")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._unwritten = settings
            return []
        lines = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        file = self.folder / "settings.json"
        if lines and file.exists():
            before = json.loads(file.read_text(encoding="utf-8"))
            if keys := sorted(k for k in settings | before if settings.get(k) != before.get(k)):
                raise UserError(
                    f"{self.folder} was made with other values of {', '.join(keys)}: "
                    "give another output"
                )
        else:
            # Nothing is measured yet: a mistake in the first settings may be mended.
            self._unwritten = settings
        write_atomic(self.log, "".join(f"{line}\n" for line in lines))
        records = [json.loads(line) for line in lines]
        self._texts = {r["corpus_sha256"] for r in records if "corpus_sha256" in r}
        return records

    def check_text(self, sha256: str) -> None:
        """Refuse a text that is not the one on which the log was measured.

        Args:
            sha256: of the corpus; measurements name theirs as ``corpus_sha256``.

        Raises:
            UserError: it is another one.
        """
        if self._texts - {sha256}:
            raise UserError(f"the text has changed since {self.log} was begun: give another output")

    def add(self, record: dict[str, Any]) -> None:
        """Append a measurement and flush it to disk.

        Raises:
            UserError: the disk is full or cannot be written; what was there before stays.
        """
        try:
            if self._unwritten is not None:
                write_atomic(self.log, "")  # by which a folder without measurements is known
                write_json(self.folder / "settings.json", self._unwritten)
                self._unwritten = None
            append_json(self.log, record)
        except UserError as error:
            raise UserError(f"{error}; {self.how_to_go_on()}") from error

    def how_to_go_on(self) -> str:
        """What to type after an interruption."""
        return f"continue with the same command and output={self.folder}"
