"""Which tracker follows a run, and where it writes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from pruner_zero.errors import UserError, suggest

# A tracker's name is also the name of the extra that brings its library.
_LIBRARIES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
MODES = ("offline", "online")


@dataclass
class TrackerConfig:
    """Which tracker follows a search.

    Attributes:
        name: ``none``, ``tensorboard``, ``mlflow`` or ``wandb``.
        place: where it writes: a folder, for mlflow also the URI of a server; null for the
            tracker's own default.
        project: what runs are grouped under (an experiment of mlflow, a project of wandb).
        mode: of wandb: ``offline`` (files, for ``wandb sync``) or ``online``.
    """

    name: str = "none"
    place: str | None = None
    project: str = "pruner-zero"
    mode: str = "offline"


def check_tracker(config: TrackerConfig) -> None:
    """Find what is wrong before anything is loaded.

    Raises:
        UserError: an unknown tracker or mode, or a library that is not installed.
    """
    if config.name != "none" and config.name not in _LIBRARIES:
        raise UserError(
            f"no tracker is called '{config.name}': {suggest(config.name, ['none', *_LIBRARIES])}"
        )
    if config.mode not in MODES:
        raise UserError(f"tracker.mode={config.mode}: {suggest(config.mode, MODES)}")
    if config.name != "none" and find_spec(_LIBRARIES[config.name]) is None:
        raise UserError(
            f"tracker={config.name} needs the package {_LIBRARIES[config.name]}: "
            f"pip install 'pruner-zero[{config.name}]'"
        )
