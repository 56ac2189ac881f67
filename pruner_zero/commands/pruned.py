"""Prune a loaded model as a command's settings say; several commands begin with this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from torch import nn

from pruner_zero.commands.display import Display
from pruner_zero.commands.methods import missing_update, resolve_method_argument
from pruner_zero.commands.schema import PruningConfig
from pruner_zero.commands.setup import Workbench, calibrated, calibration_ids
from pruner_zero.commands.workload import workload
from pruner_zero.errors import UserError
from pruner_zero.metric import load_operators
from pruner_zero.model.masks import InvalidScores
from pruner_zero.model.memory import Workload
from pruner_zero.model.methods import Method, resolve_pattern
from pruner_zero.model.placement import check_memory
from pruner_zero.model.prune import check_options, prune
from pruner_zero.model.prune_report import PruneReport
from pruner_zero.model.statistics import MEASURED_TERMINALS


def checked_method(config: PruningConfig) -> Method:
    """Return the method that the settings name, after checking that all of them fit together.

    Raises:
        UserError: before anything is loaded.
    """
    load_operators(config.operator_files)
    method = resolve_method_argument(str(config.metric))
    pattern = resolve_pattern(method, config.sparsity, config.scope)
    check_options(method, pattern, config.mode, config.update, config.allocation)
    check_memory(config.memory)
    return method


def needs_text(config: PruningConfig, method: Method) -> bool:
    """Whether pruning reads calibration text."""
    measured = method.metric is None or bool(method.reads & MEASURED_TERMINALS)
    return measured or config.update != "none" or config.allocation == "owl"


def pruning_work(
    config: PruningConfig, method: Method | None, texts: Sequence[tuple[int | None, int]]
) -> Workload:
    """What pruning by these settings and measuring texts will ask of the memory."""
    terminals = method.reads_of_dense(config.mode) if method else ()
    return workload(texts, config.calibration, terminals, copy=False)


def pruned(
    config: PruningConfig,
    method: Method,
    model: nn.Module,
    bench: Workbench | None,
    display: Display,
) -> tuple[PruneReport, dict[str, Any]]:
    """Prune a model in place.

    Args:
        config: the settings, checked.
        method: their method.
        model: a dense model.
        bench: the model's corpus; may be None where `needs_text` is false.
        display: shows the progress.

    Returns:
        What was done, and the same with the calibration text as plain JSON values.

    Raises:
        UserError: the metric gives no valid scores on this model.
    """
    if update := missing_update(str(config.metric), config.update):
        display.say(
            f"warning: {config.metric} judged its metrics with another weight update: set "
            f"update={update} to prune as it did"
        )
    text: dict[str, Any] = {}
    calibration = statistics = None
    if bench and needs_text(config, method):
        calibration = calibration_ids(bench, config.calibration, config.seed)
        dense = method.reads_of_dense(config.mode) & MEASURED_TERMINALS
        if dense or config.allocation == "owl":
            statistics = calibrated(bench, config.calibration, config.seed, display, dense)
        text = {
            "corpus": bench.corpus.name,
            "corpus_sha256": bench.corpus.fingerprint,
            "split": "calibration",
            "sequences": config.calibration.sequences,
            "length": config.calibration.length,
            "seed": config.seed,
        }
    try:
        with display.steps("pruning") as progress:
            report = prune(
                model,
                method,
                config.sparsity,
                calibration=calibration,
                statistics=statistics,
                mode=cast(Any, config.mode),
                update=cast(Any, config.update),
                scope=config.scope,
                allocation=cast(Any, config.allocation),
                progress=progress,
            )
    except InvalidScores as failure:
        raise UserError(f"metric {config.metric} cannot prune this model: {failure}") from failure
    display.say(
        f"pruned by {report.method}: sparsity {report.pattern}, {report.sparsity:.2%} zeros, "
        f"{report.mode}, scope {report.scope}"
    )
    facts = {key: value for key, value in asdict(report).items() if key != "layers"}
    return report, {**facts, "measured_sparsity": report.sparsity, "calibration": text}
