"""A run folder, read as far as it can be: what is missing or unknown is named, never fatal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pruner_zero.report.evaluation import Evaluation
from pruner_zero.report.outcome import BestMetric, Outcome
from pruner_zero.search.run_folder import RUN_FORMAT, RunFolder

_FROM_LOG = "convergence, expressions, genealogy, savings and words"


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        path: its folder.
        format: version of the folder; 1 for those that do not say.
        config: the resolved settings as nested dictionaries; empty when they are missing.
        config_text: the same as they lie on disk.
        evaluations: the log, in order.
        hall: the hall of fame, best first.
        outcome: what the ended search concluded; None for one that did not end.
        versions: of the packages that began it, or that made the final table where there is one.
        gaps: sentences on what is missing, unreadable, or of another version.
    """

    path: Path
    format: int
    config: Mapping[str, Any]
    config_text: str
    evaluations: tuple[Evaluation, ...]
    hall: tuple[BestMetric, ...]
    outcome: Outcome | None
    versions: Mapping[str, Any]
    gaps: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def setting(self, key: str, default: Any = None) -> Any:
        """Return the value of a dotted key of the settings."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    @property
    def full_tokens(self) -> int:
        """Predicted tokens of one evaluation that is not stopped early; at least 1."""
        windows, length = self.setting("fitness.windows"), self.setting("fitness.length")
        if isinstance(windows, int) and isinstance(length, int):
            sparsities = len(self.setting("fitness.sparsity") or [None])
            models = 1 + len(self.setting("fitness.models") or [])
            return windows * (length - 1) * sparsities * models
        return max((evaluation.cost for evaluation in self.evaluations), default=0) or 1

    @property
    def lowest(self) -> Evaluation | None:
        """The completely evaluated candidate of the lowest search perplexity."""
        complete = (e for e in self.evaluations if e.usable and e.complete)
        return min(complete, key=lambda e: e.perplexity, default=None)

    def ranking(self) -> list[BestMetric]:
        """The best metrics: as validation ranked them, then the rest of the hall of fame."""
        picks = list(self.outcome.picks) if self.outcome else []
        known = {(pick.formula, pick.scope) for pick in picks}
        # A pick of a folder that kept no search perplexity beside it has it in the hall of fame.
        values = {(entry.formula, entry.scope): entry.search for entry in self.hall}
        picks = [
            pick
            if pick.search is not None
            else BestMetric(
                pick.formula,
                pick.scope,
                values.get((pick.formula, pick.scope)),
                pick.validation,
            )
            for pick in picks
        ]
        rest = [entry for entry in self.hall if (entry.formula, entry.scope) not in known]
        if not picks and not rest and (lowest := self.lowest):
            return [BestMetric(lowest.formula, lowest.scope, lowest.perplexity)]
        return picks + rest

    def evaluation_of(self, best: BestMetric) -> Evaluation | None:
        """The first complete evaluation of a metric; None when the log does not hold it."""
        for evaluation in self.evaluations:
            same = (evaluation.formula, evaluation.scope) == (best.formula, best.scope)
            if same and evaluation.usable and evaluation.complete:
                return evaluation
        return None


def read_run(path: Path) -> Run:
    """Read a run folder of any version, complete or not.

    Args:
        path: a folder that `is_run`.
    """
    folder = RunFolder(path)
    gaps: list[str] = []
    version, versions = _about(folder, gaps)
    text, config = _config(folder.config, gaps)
    evaluations = _evaluations(folder, gaps)
    hall = _hall(folder.hall_of_fame, gaps)
    outcome = _outcome(folder.results, gaps)
    if outcome and outcome.provenance:
        versions = outcome.provenance
    return Run(path, version, config, text, evaluations, hall, outcome, versions, tuple(gaps))


def _about(folder: RunFolder, gaps: list[str]) -> tuple[int, Mapping[str, Any]]:
    facts = _json(folder.about, gaps)
    if not isinstance(facts, dict):
        return 1, {}
    version, versions = facts.get("format"), facts.get("versions")
    if not isinstance(version, int):
        gaps.append(f"run.json names no format but '{version}': it is read like the latest one")
        version = RUN_FORMAT
    if version > RUN_FORMAT:
        gaps.append(
            f"the folder has format {version} of a newer version; this program reads formats up to "
            f"{RUN_FORMAT}: what it does not know is not shown"
        )
    return version, versions if isinstance(versions, dict) else {}


def _config(path: Path, gaps: list[str]) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        config = OmegaConf.to_container(OmegaConf.create(text))
        if isinstance(config, dict):
            return text, {str(key): value for key, value in config.items()}
        gaps.append("config.yaml holds no settings: they cannot be shown")
    except FileNotFoundError:
        gaps.append("config.yaml is missing: settings cannot be shown")
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        gaps.append(f"config.yaml cannot be read ({_first_line(error)}): settings are not shown")
    return "", {}


def _evaluations(folder: RunFolder, gaps: list[str]) -> tuple[Evaluation, ...]:
    path = folder.log
    if not path.exists():
        gaps.append(f"evaluations.jsonl is missing: {_FROM_LOG} cannot be shown")
        return ()
    read, bad, fields = [], [], set[str]()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        gaps.append(f"evaluations.jsonl cannot be read ({error.strerror}): no {_FROM_LOG}")
        return ()
    # What follows the last newline is a line that a kill cut short, or one being written.
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            read.append(Evaluation.from_record(record))
            fields |= record.keys()
        except (ValueError, KeyError, TypeError, AttributeError):
            bad.append(number)
    if bad:
        gaps.append(
            f"evaluations.jsonl: {len(bad)} of {len(lines) - 1} lines cannot be read "
            f"(the first is line {bad[0]}): they are left out"
        )
    if not read and not bad:
        gaps.append(f"evaluations.jsonl is empty: {_FROM_LOG} cannot be shown")
    if unread := sum(evaluation.metric is None for evaluation in read):
        gaps.append(_unknown_words(unread, folder.operator_files()))
    if read and "complete" not in fields:
        gaps.append("the log predates racing: every evaluation counts as complete")
    if read and "cost" not in fields:
        gaps.append("the log predates the ledger: cost is the tokens that were computed")
    return tuple(read)


def _unknown_words(count: int, operator_files: Sequence[Path]) -> str:
    """What the page lacks of formulas that cannot be parsed, and how to have it."""
    many = "1 formula has" if count == 1 else f"{count} formulas have"
    lost = (
        "shown as text, without typeset form, tree, word statistics and size, so not among the "
        "expressions by size"
    )
    if operator_files:
        # Code is never run because it lies in a folder: the user has to name it.
        names = ",".join(map(str, operator_files))
        return f"{many} operators of the run's own: {lost}; add operator_files=[{names}] for these"
    return f"{many} words that this version does not know: {lost}"


def _hall(path: Path, gaps: list[str]) -> tuple[BestMetric, ...]:
    if not path.exists():
        gaps.append(
            "hall_of_fame.json is missing: of the best metrics only those that validation chose "
            "from can be shown"
        )
    entries = _json(path, gaps)
    try:
        return tuple(BestMetric.from_record(entry) for entry in entries or ())
    except (KeyError, TypeError, ValueError, AttributeError):
        gaps.append("hall_of_fame.json is of a kind that this version does not know")
        return ()


def _outcome(path: Path, gaps: list[str]) -> Outcome | None:
    if not path.exists():
        gaps.append(
            "results.json is missing, the search did not end: there is no final table, and the "
            "best metrics are ranked on the search split"
        )
        return None
    results = _json(path, gaps)
    if not isinstance(results, dict):
        return None
    outcome = Outcome.from_results(results)
    gaps.extend(outcome.gaps)
    return outcome


def _json(path: Path, gaps: list[str]) -> Any:
    """The value of a JSON file, None when there is none."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        gaps.append(f"{path.name} is damaged ({_first_line(error)}): it is left out")
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def finite(value: float | None) -> float | None:
    """A number for a figure or table, None for none or infinity."""
    return value if value is not None and math.isfinite(value) else None
