"""What a command will ask of the memory, for its prediction before the model is placed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pruner_zero.commands.schema import CalibrationConfig
from pruner_zero.model.memory import Workload
from pruner_zero.model.statistics import MEASURED_TERMINALS

_WHOLE_SPLIT = 166
"""Windows of a split that is measured whole: WikiText-2's test set in windows of 2048 tokens."""


def workload(
    texts: Sequence[tuple[int | None, int]],
    calibration: CalibrationConfig,
    terminals: Collection[str],
    copy: bool = True,
    host_copy: bool = False,
    score_memory: int = 0,
    update: bool = False,
) -> Workload:
    """Describe what will run.

    Args:
        texts: (windows, tokens per window) of each text that is measured; None for a whole split.
        calibration: its settings.
        terminals: what metrics read of the dense model.
        copy: a copy of the dense weights is kept beside the model.
        host_copy: also when the blocks are on the host.
        score_memory: bytes in which competing scores may be kept.
        update: factors of all Hessians are kept for the OBS update of candidates.
    """
    measured = frozenset(terminals) & MEASURED_TERMINALS
    windows, window = max(
        ((_WHOLE_SPLIT if count is None else count, length) for count, length in texts),
        key=lambda text: (text[0] * text[1], text[1]),
    )
    return Workload(
        window=max(length for _, length in texts),
        windows=max(1, round(windows * window / max(length for _, length in texts))),
        length=calibration.length if measured or update else 0,
        sequences=calibration.sequences if measured or update else 0,
        terminals=measured,
        copy=copy,
        host_copy=host_copy,
        checkpointing=bool(calibration.checkpointing),
        score_memory=score_memory,
        update=update,
    )
