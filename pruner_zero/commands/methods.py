"""What a user may name as a method: a known one, a formula, a tree file or a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pruner_zero.files import is_folder
from pruner_zero.metric import TERMINALS, Metric
from pruner_zero.metric.library import KNOWN_METRICS, PUBLISHED
from pruner_zero.model.methods import METHODS, Method, resolve_method
from pruner_zero.model.sparsity import Scope
from pruner_zero.search.run_folder import RunFolder


def resolve_method_argument(text: str) -> Method:
    """Turn the text of a command line into a method.

    Args:
        text: a method's name or a formula, with ``@scope`` if wanted; a public JSON tree file; or
            a run folder (its best metric, with the scope that was found with it).

    Raises:
        UserError: when it is none of these; before anything is loaded.
    """
    path = Path(text)
    # A model pruned by Wanda may well lie in a folder of that name: ./wanda is the folder.
    if is_folder(text) and text not in (*METHODS, *TERMINALS):
        metric, scope = RunFolder(path).best_metric()
        name = f"{metric}@{scope}" if scope else str(metric)
        return Method(name, metric, cast(Scope, scope or "row"))
    if "/" in text and "(" not in text and not path.exists() and path.suffix != ".json":
        # Figures come with it, which take a second to import and are not needed here.
        from pruner_zero.report.finding import find_runs

        find_runs([path])  # raises, with the nearest run
    if path.suffix == ".json":
        return resolve_method(Metric.from_json(path))
    return resolve_method(text)


def missing_update(text: str, given: str = "none") -> str | None:
    """The weight update without which a metric is about to be used, though it was found with it.

    Args:
        text: see `resolve_method_argument`.
        given: the update that it is used with.

    Returns:
        The search's own update; None where that is the given one, or none.
    """
    update = update_of(text)
    return None if update in ("none", given) else update


def update_of(text: str) -> str:
    """The weight update with which the search that found a metric judged it, as far as known.

    Args:
        text: see `resolve_method_argument`.
    """
    if text in KNOWN_METRICS:
        return KNOWN_METRICS[text].update
    if is_folder(text):
        return str(RunFolder(Path(text)).setting("fitness.update") or "none")
    return "none"


def published_equals(metric: Metric, scope: str) -> list[str]:
    """Return the published metrics that order the weights of a scope as a metric does."""
    form = metric.simplified("rank", scope)
    return [name for name in PUBLISHED if Metric.named(name).simplified("rank", scope) == form]
