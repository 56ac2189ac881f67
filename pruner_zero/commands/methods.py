"""What a user may name as a method: a known one, a formula, a tree file or a run folder."""

from __future__ import annotations

from pathlib import Path

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.model.methods import resolve_method


def resolve_method_argument(text: str) -> str | Metric:
    """Turn the text of a command line into what ``prune`` takes.

    Args:
        text: a method's name, a formula, a public JSON tree file, or a run folder (its best
            metric).

    Raises:
        UserError: when it is none of these; before anything is loaded.
    """
    path = Path(text)
    if path.is_dir():
        best = path / "best_metric.json"
        if not best.exists():
            raise UserError(f"the folder {path} has no best_metric.json: not a finished search")
        return Metric.from_json(best)
    if path.suffix == ".json":
        return Metric.from_json(path)
    resolve_method(text)
    return text
