"""Zero-shot accuracy through lm-evaluation-harness, an optional package.

The harness gives every multiple-choice task up to two accuracies: ``acc`` takes the answer with the
highest log-likelihood, ``acc_norm`` the highest log-likelihood per byte. They differ by several
points, published tables mix them, and so nothing here ever puts one in the place of the other.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pruner_zero.errors import UserError, suggest
from pruner_zero.hub import first_line, hub_reachable, quiet_libraries

ACCURACIES = ("acc", "acc_norm")
_FEWSHOT_SEED = 1234  # the harness's own


@dataclass(frozen=True)
class Accuracy:
    """One accuracy with its standard error over the samples (None for a single sample)."""

    value: float
    stderr: float | None


@dataclass(frozen=True)
class TaskScore:
    """One task's result.

    Attributes:
        task: its name in the harness.
        version: of the task's definition.
        samples: number of questions scored.
        shots: number of solved examples in the prompt.
        acc: accuracy by log-likelihood, None when the task does not define it.
        acc_norm: accuracy by log-likelihood per byte, None when the task does not define it.
    """

    task: str
    version: str
    samples: int
    shots: int
    acc: Accuracy | None
    acc_norm: Accuracy | None


def require_harness() -> None:
    """Refuse to go on without lm-evaluation-harness.

    Raises:
        UserError: with the command that installs it.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(
            "zero-shot tasks need lm-evaluation-harness: pip install 'pruner-zero[zeroshot]'"
        )


def load_tasks(
    names: Sequence[str], folder: Path | None = None, num_fewshot: int | None = None
) -> dict[str, Any]:
    """Find tasks and load their questions; all names are checked before any data is fetched.

    Args:
        names: tasks, tags or groups of the harness or of ``folder``, YAML files, or folders of
            YAML files (all their tasks). Groups and tags are replaced by their tasks.
        folder: of task files of your own.
        num_fewshot: solved examples in the prompt; by default each task's own number. A task that
            fixes zero keeps zero, as in the harness.

    Returns:
        The harness's tasks by name.

    Raises:
        UserError: the harness is missing, an unknown name (with the nearest one), a task without
            ``acc`` and ``acc_norm``, data that cannot be loaded, or fewer examples than shots.
    """
    require_harness()
    with _quiet_harness():
        found = _find(names, folder)
        online = hub_reachable()
        tasks: dict[str, Any] = {}
        for name, manager in found:
            tasks |= _load(name, manager, online)
        for name, task in tasks.items():
            _set_shots(name, task, num_fewshot)
    return tasks


def score_tasks(
    model: nn.Module,
    tokenizer: Any,
    tasks: Mapping[str, Any],
    limit: int | None = None,
    batch_size: int = 8,
) -> list[TaskScore]:
    """Score a model on tasks.

    Args:
        model: a causal transformers model, scored as it is.
        tokenizer: its tokenizer.
        tasks: from `load_tasks`.
        limit: questions per task, by default all.
        batch_size: sequences per forward pass.

    Returns:
        One score per task, in order.

    Raises:
        UserError: too little memory for the batch size.
    """
    require_harness()
    with _quiet_harness():
        from lm_eval import evaluator
        from lm_eval.models.huggingface import HFLM

        try:
            found = evaluator.evaluate(
                lm=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
                task_dict={"tasks": dict(tasks), "groups": {}, "group_map": {}},
                limit=limit,
                log_samples=False,
            )
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"batch_size={batch_size} needs more memory than the device has: take a smaller one"
            ) from error
    return [_score(name, found) for name in tasks]


def _find(names: Sequence[str], folder: Path | None) -> list[tuple[str, Any]]:
    """Pair each task with the harness's manager that knows it."""
    from lm_eval.tasks import TaskManager

    if folder is not None and not folder.is_dir():
        raise UserError(f"task_path {folder} is not a folder")
    # Reading the harness's own 14,000 definitions takes seconds: only when a name asks for them.
    own = TaskManager(include_path=folder, include_defaults=False)
    every = None
    found: list[tuple[str, Any]] = []
    for name in dict.fromkeys(names):
        path = Path(name).expanduser()
        if name in own.all_subtasks:
            found.append((name, own))
        elif path.suffix == ".yaml":
            if not path.is_file():
                raise UserError(f"tasks: there is no file {path}")
            found.append((str(path), own))
        elif path.is_dir():
            inside = TaskManager(include_path=path, include_defaults=False)
            if not inside.all_subtasks:
                raise UserError(f"tasks: the folder {path} holds no task file (*.yaml)")
            found += [(task, inside) for task in inside.all_subtasks]
        else:
            every = every or TaskManager(include_path=folder)
            if name not in every.all_tasks:
                near = suggest(name, every.all_tasks)
                if not near.startswith("did you mean"):  # thousands of names would help nobody
                    near = "`lm_eval ls tasks` lists them"
                raise UserError(f"no task is called '{name}': {near}")
            found.append((name, every))
    return found


def _load(name: str, manager: Any, online: bool) -> dict[str, Any]:
    """Load one task's questions; without a hub only what is on this machine, and at once."""
    try:
        with contextlib.nullcontext() if online else _offline():
            tasks = dict(manager.load([name])["tasks"])
    except Exception as error:  # the libraries raise dozens of kinds for "not available"
        if not online and _offline_error(error):
            raise UserError(
                f"task '{name}' needs its data from the hub, which cannot be reached: "
                "take tasks of your own (task_path=FOLDER)"
            ) from error
        raise UserError(f"task '{name}' cannot be loaded: {first_line(error)}") from error
    for task_name, task in tasks.items():
        measured = sorted(task.aggregation())
        if not set(measured) & set(ACCURACIES):
            raise UserError(
                f"task '{task_name}' has neither acc nor acc_norm but {', '.join(measured)}"
            )
    return tasks


def _set_shots(name: str, task: Any, num_fewshot: int | None) -> None:
    own = task.get_config("num_fewshot")
    shots = own if own is not None and (num_fewshot is None or own == 0) else num_fewshot or 0
    # The question itself may be among the examples and is left out then.
    if shots and len(task.fewshot_docs()) <= shots:
        raise UserError(f"num_fewshot: task '{name}' has too few examples for {shots} in a prompt")
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)


def _offline_error(error: BaseException | None) -> bool:
    """Whether a missing hub is behind an exception."""
    while error is not None:
        if isinstance(error, ConnectionError) or "offline" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _offline() -> Iterator[None]:
    """Let the hub's libraries use their caches alone; they would retry for minutes otherwise."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet_harness() -> Iterator[None]:
    """Silence the harness; its progress bars stay on a terminal."""
    import datasets  # noqa: F401  (imported before it is made quiet)
    import huggingface_hub  # noqa: F401

    logger = logging.getLogger("lm_eval")
    level = logger.level
    terminal = sys.stderr.isatty()
    try:
        with (
            quiet_libraries(),
            contextlib.nullcontext() if terminal else contextlib.redirect_stderr(io.StringIO()),
        ):
            logger.setLevel(logging.ERROR)
            yield
    finally:
        logger.setLevel(level)


def _score(name: str, found: Mapping[str, Any]) -> TaskScore:
    measured = found["results"][name]
    return TaskScore(
        task=name,
        version=str(found["versions"].get(name, "")),
        samples=int(found["n-samples"][name]["effective"]),
        shots=int(found["n-shot"].get(name, 0)),
        acc=_accuracy(measured, "acc"),
        acc_norm=_accuracy(measured, "acc_norm"),
    )


def _accuracy(measured: Mapping[str, Any], metric: str) -> Accuracy | None:
    """The accuracy of exactly this name; the harness writes ``acc_norm,FILTER``."""
    keys = [key for key in measured if key.partition(",")[0] == metric]
    if len(keys) != 1:
        return None
    stderr = measured.get(keys[0].replace(metric, f"{metric}_stderr", 1))
    # The harness writes "N/A" where it has no estimate and NaN for a single sample.
    known = isinstance(stderr, int | float) and not math.isnan(stderr)
    return Accuracy(float(measured[keys[0]]), stderr if known else None)
