"""The run folder: an append-only evaluation log and atomic checkpoints are the truth of a run.

=====================  =====================================================================
``config.yaml``        the resolved configuration
``run.json``           the folder's format, the versions that began it, fingerprints of texts
``evaluations.jsonl``  one line per evaluated candidate, appended and flushed at once
``checkpoint.json``    state of the search after the last complete line of the log
``best_metric.json``   the best metric so far, as a public JSON tree
``operators/``         copies of the user's operator files, if there were any
``results.json``       final numbers with provenance (``results.md`` is the same as a table)
=====================  =====================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pruner_zero.errors import UserError
from pruner_zero.files import append_json, write_atomic, write_json
from pruner_zero.metric import Metric
from pruner_zero.provenance import versions
from pruner_zero.search.individual import Ranked

CHECKPOINT_VERSION = 4
RUN_FORMAT = 2
"""Version of the folder's files, but for the checkpoint; folders without ``run.json`` have 1."""
Record = dict[str, Any]


class RunFolder:
    """One run's files.

    Args:
        path: the folder; made when missing.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.config = path / "config.yaml"
        self.about = path / "run.json"
        self.log = path / "evaluations.jsonl"
        self.checkpoint = path / "checkpoint.json"
        self.operators = path / "operators"
        self.best = path / "best_metric.json"
        self.hall_of_fame = path / "hall_of_fame.json"
        self.results = path / "results.json"
        self.table = path / "results.md"
        self._lock = FileLock(path / ".lock")

    def lock(self) -> bool:
        """Claim the folder for this process until it ends; False when another one has it."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def begin(
        self,
        config: str,
        operator_files: Iterable[tuple[str, str]] = (),
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Start a new run.

        Args:
            config: the resolved configuration, as YAML.
            operator_files: name and text of files with operators of the user's own.
            texts: corpus name → fingerprint, of those that fitness depends on.

        Raises:
            UserError: when the folder already holds one.
        """
        if self.log.exists():
            raise UserError(f"{self.path} already holds a run: choose another folder or resume it")
        self.lock()
        for left in self.operator_files():
            left.unlink()
        for number, (name, text) in enumerate(operator_files):
            self.operators.mkdir(exist_ok=True)
            write_atomic(self.operators / f"{number}_{name}", text)
        write_atomic(self.config, config)
        about = {"format": RUN_FORMAT, "versions": versions(), "texts": dict(texts or {})}
        write_json(self.about, about)
        self.log.touch()

    def is_vacant(self) -> bool:
        """Whether a run can begin here: nothing is in it but what one that never began left."""
        return all(path.name.startswith(".") or path == self.operators
                   for path in self.path.iterdir())  # fmt: skip

    def check_texts(self, texts: Mapping[str, str]) -> None:
        """Refuse to go on with texts that are not those that the run began with.

        Args:
            texts: see `begin`.

        Raises:
            UserError: names the corpora that have changed.
        """
        before: Mapping[str, str] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):  # an older run has none
            before = json.loads(self.about.read_text(encoding="utf-8"))["texts"]
        changed = [name for name in texts if before.get(name, texts[name]) != texts[name]]
        if changed:
            raise UserError(
                f"resume: the text of corpus {' and '.join(changed)} has changed since "
                f"{self.path} was begun: start a new run, without resume"
            )

    def append(self, record: Record, state: dict[str, Any]) -> None:
        """Log one evaluation, then checkpoint the search as it is after it.

        Raises:
            UserError: when the disk is full or cannot be written; the folder can be resumed.
        """
        try:
            append_json(self.log, record)
            write_json(
                self.checkpoint,
                {"version": CHECKPOINT_VERSION, "state": state},
                indent=None,
            )
        except UserError as error:
            raise UserError(
                f"{error}: make room and continue with resume={self.path}; nothing before this "
                "candidate is lost"
            ) from error

    def write_ranking(self, ranking: Iterable[Ranked]) -> None:
        """Write the hall of fame, best first, and the best metric as a public JSON tree."""
        entries = [
            {
                "expression": str(entry.metric),
                "scope": entry.scope,
                "nodes": entry.metric.size,
                "search_perplexity": entry.perplexity,
                "tree": entry.metric.to_json(),
            }
            for entry in ranking
        ]
        write_json(self.hall_of_fame, entries)
        if entries:
            write_json(self.best, entries[0]["tree"], indent=4)

    def best_metric(self) -> tuple[Metric, str | None]:
        """Return the metric that a search chose, or its best so far, with its scope.

        Returns:
            The metric, and the scope that was found with it or, where scopes were not searched,
            given to the whole run; None for the usual one.

        Raises:
            UserError: the folder holds none.
        """
        expression, own = self._best_entry()
        scope = own or self.setting("scope")
        try:
            return Metric.parse(expression), scope
        except UserError as error:
            if not (files := self.operator_files()):
                raise
            # Code is never run because it lies in a folder: the user has to name it.
            names = ",".join(map(str, files))
            raise UserError(
                f"the metric of {self.path} is made of operators of its own: "
                f"add operator_files=[{names}]"
            ) from error

    def setting(self, key: str) -> Any:
        """A setting of the run by its dotted key; None where the folder does not tell."""
        try:
            return OmegaConf.select(OmegaConf.load(self.config), key)
        except (OSError, YAMLError, OmegaConfBaseException):
            return None

    def operator_files(self) -> list[Path]:
        """The run's copies of the user's operator files, in the order in which it read them."""
        numbered = {
            int(number): path
            for path in self.operators.glob("*_*.py")
            if (number := path.name.partition("_")[0]).isdecimal()
        }
        return [path for _, path in sorted(numbered.items())]

    def _best_entry(self) -> tuple[str, str | None]:
        """Formula and scope of the best metric; what is damaged is as good as absent."""
        damaged = []
        for file, first in ((self.results, "best"), (self.hall_of_fame, 0)):
            try:
                entry = json.loads(file.read_text(encoding="utf-8"))[first]
                return str(entry["expression"]), entry["scope"]
            except FileNotFoundError:
                continue
            except IndexError:
                continue  # nothing was found yet
            except (OSError, ValueError, KeyError, TypeError):
                damaged.append(file.name)
        if damaged:
            raise UserError(
                f"the best metric of {self.path} cannot be read ({' and '.join(damaged)}: damaged "
                "or of another version): name the formula instead"
            )
        raise UserError(f"the folder {self.path} holds no metric: not a search that found one")

    def records(self) -> list[Record]:
        """Return all complete lines of the log; a line that a kill cut short is left out."""
        if not self.log.exists():
            return []
        try:
            lines = self.log.read_text(encoding="utf-8").split("\n")
            return [json.loads(line) for line in lines[:-1]]
        except ValueError as error:
            raise UserError(f"{self.log} is damaged ({error}): start a new run") from error
        except OSError as error:
            raise UserError(f"{self.log} cannot be read: {error.strerror}") from error

    def resume(self) -> tuple[dict[str, Any], list[Record]] | None:
        """Return the checkpointed state and the log up to it, and cut the log there.

        Returns:
            None when no candidate was completed: the run then starts from its beginning.

        Raises:
            UserError: when the folder holds no run, or one of another version.
        """
        if not self.config.exists():
            raise UserError(f"{self.path} holds no run to resume")
        if not self.checkpoint.exists():
            # A kill before the first checkpoint leaves one line at most.
            if len(self.records()) > 1:
                raise UserError(
                    f"{self.path} lacks {self.checkpoint.name}: put it back, or start a new run"
                )
            write_atomic(self.log, "")
            return None
        try:
            saved = json.loads(self.checkpoint.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{self.checkpoint} is damaged ({error}): start a new run") from error
        if not isinstance(saved, dict):
            raise UserError(f"{self.checkpoint} holds no state of a search: start a new run")
        if saved.get("version") != CHECKPOINT_VERSION:
            raise UserError(
                f"{self.checkpoint} is of version {saved.get('version')}, this program reads "
                f"version {CHECKPOINT_VERSION}: start a new run"
            )
        state = saved.get("state")
        if not isinstance(state, dict) or not isinstance(state.get("told"), int):
            raise UserError(f"{self.checkpoint} holds no state of a search: start a new run")
        # A kill between the two writes leaves one line that the checkpoint does not know.
        records = [r for r in self.records() if r["evaluation"] <= state["told"]]
        if [r["evaluation"] for r in records] != list(range(1, state["told"] + 1)):
            raise UserError(
                f"{self.log} lacks evaluations that {self.checkpoint.name} knows of: put the whole "
                "log back, or start a new run"
            )
        write_atomic(self.log, "".join(json.dumps(record) + "\n" for record in records))
        return state, records
