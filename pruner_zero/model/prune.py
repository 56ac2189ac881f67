"""Prune a model in place by any method: the one function behind the command and the Python API."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pruner_zero.errors import UserError, suggest
from pruner_zero.model.accumulators import INPUT_TERMINALS
from pruner_zero.model.adaptive import check_adaptive
from pruner_zero.model.block_pruning import Plan, prune_through_blocks
from pruner_zero.model.gradient_accumulators import GRADIENT_TERMINALS
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.hosted_weights import HostedWeights
from pruner_zero.model.layers import PrunableLayer, prunable_layers
from pruner_zero.model.methods import Method, resolve_method, resolve_pattern
from pruner_zero.model.modes import evaluation_mode
from pruner_zero.model.owl import outlier_shares, owl_ratios
from pruner_zero.model.prune_report import PruneReport, count_zeros
from pruner_zero.model.pruning import apply_masks
from pruner_zero.model.scoring import Scoring
from pruner_zero.model.sparsity import NofM, SparsityPattern, Unstructured
from pruner_zero.model.statistics import Statistics, check_ids, measure_statistics

Mode = Literal["sequential", "one_shot"]
Update = Literal["none", "obs", "adaptive"]
MODES: tuple[str, ...] = get_args(Mode)
UPDATES: tuple[str, ...] = get_args(Update)
Allocation = Literal["uniform", "owl"]
Progress = Callable[[int, int], None]


def prune(
    model: nn.Module,
    method: str | Scoring | Method,
    sparsity: str | float | SparsityPattern,
    calibration: Tensor | None = None,
    statistics: Statistics | None = None,
    mode: Mode = "sequential",
    update: Update = "none",
    scope: str | None = None,
    allocation: Allocation = "uniform",
    progress: Progress | None = None,
) -> PruneReport:
    """Prune a model in place.

    ``sequential`` goes block by block as the public code does: what comes from layers' inputs (X,
    M, V, H and the update's Hessians) is taken on the activations of already pruned blocks; it
    costs two forward passes of the calibration text. ``one_shot`` uses statistics of the dense
    model alone: no forward pass when they are given, one with an update. A metric that reads
    none of X, M, V and H gives the same masks either way. Gradients (G, R) are always the dense
    model's.

    When this raises after pruning has begun, the model is partly pruned: load it again.

    Args:
        model: a dense decoder-only transformer.
        method: ``magnitude``, ``wanda``, ``gblm``, ``ria``, ``sparsegpt``, ``pruner-zero``, a
            formula (each with ``@scope`` if wanted), or a metric.
        sparsity: ``0.5``, ``"0.5"``, ``"2:4"`` or a pattern.
        calibration: [N, L] int64 token ids; needed for whatever is not in ``statistics``, and for
            the sequential flow of metrics that read X, M, V or H, and for updates.
        statistics: of the dense model; what is missing is measured on ``calibration``.
        mode: ``"sequential"`` or ``"one_shot"``.
        update: ``"obs"`` mends the remaining weights with SparseGPT's reconstruction;
            ``"adaptive"`` has the metric choose while they are mended, as SparseGPT chooses, see
            `adaptively_pruned`.
        scope: ``row``, ``layer``, ``block`` or ``model``; by default the method's own.
        allocation: ``"owl"`` gives every block its own sparsity by its share of outliers.
        progress: called with (blocks done, blocks) when the model goes block by block.

    Returns:
        What was done, with zeros counted in the pruned weights.

    Raises:
        UserError: options that do not fit together or the model, before any weight changes; or a
            Hessian that cannot be inverted.
        InvalidScores: the metric gives NaN, infinite or constant scores.
    """
    started = time.perf_counter()
    resolved = resolve_method(method)
    pattern = resolve_pattern(resolved, sparsity, scope)
    check_options(resolved, pattern, mode, update, allocation)
    layers = prunable_layers(model)
    pattern.check(layers)
    updated = update if resolved.metric is not None else "obs"
    sequential = mode == "sequential"
    flows = updated != "none" or (sequential and bool(resolved.reads & INPUT_TERMINALS))
    wanted = resolved.reads_of_dense(mode) | ({"X"} if allocation == "owl" else set())
    if calibration is not None:
        check_ids(CausalHead.of(model), calibration)
    elif flows:
        raise _no_calibration(resolved, "activations")
    complete = _complete(model, calibration, statistics, wanted, resolved)
    patterns = _allocate(layers, pattern, complete, allocation)
    hosted = hosted_blocks(model)
    weights = HostedWeights(hosted, layers) if hosted else None
    plan = Plan(layers, resolved.metric, patterns, complete, updated, weights)
    with torch.no_grad(), evaluation_mode(model):
        if flows and calibration is not None:
            prune_through_blocks(model, plan, calibration, sequential, progress)
        else:
            apply_masks(plan.masks())
    return PruneReport(
        resolved.name,
        str(pattern),
        _scope_name(resolved, pattern),
        mode,
        updated,
        allocation,
        time.perf_counter() - started,
        count_zeros(layers),
    )


def check_options(
    method: Method, pattern: SparsityPattern, mode: str, update: str, allocation: str
) -> None:
    """Refuse options of `prune` that do not exist or do not fit together.

    Args:
        method: the resolved method.
        pattern: the sparsity, with its scope.
        mode: ``"sequential"`` or ``"one_shot"``.
        update: ``"none"``, ``"obs"`` or ``"adaptive"``.
        allocation: ``"uniform"`` or ``"owl"``.

    Raises:
        UserError: says which option and what to write instead.
    """
    options = (
        ("mode", mode, MODES),
        ("update", update, UPDATES),
        ("allocation", allocation, ("uniform", "owl")),
    )
    for name, value, known in options:
        if value not in known:
            raise UserError(f"unknown {name} '{value}': {suggest(value, known)}")
    if update == "adaptive" and method.metric is not None:
        check_adaptive(pattern)
    wide = isinstance(pattern, Unstructured) and pattern.scope == "model"
    if allocation == "owl" and (wide or isinstance(pattern, NofM)):
        raise UserError("OWL sets a sparsity per block: use a ratio with scope row, layer or block")
    needs_activations = bool(method.reads & INPUT_TERMINALS) or update != "none"
    if wide and mode == "sequential" and needs_activations:
        raise UserError(
            "scope 'model' compares all blocks before any is pruned: use mode 'one_shot'"
        )


def _complete(
    model: nn.Module,
    calibration: Tensor | None,
    given: Statistics | None,
    wanted: frozenset[str],
    method: Method,
) -> Statistics:
    """The given statistics, with what is wanted and missing measured on the dense model."""
    statistics = given or Statistics({})
    missing = wanted - statistics.terminals()
    if not missing:
        return statistics
    if calibration is None:
        what = "gradients" if missing & GRADIENT_TERMINALS else "activations"
        raise _no_calibration(method, what)
    measured = measure_statistics(model, calibration, missing)
    return replace(measured, values={**statistics.values, **measured.values})


def _no_calibration(method: Method, what: str) -> UserError:
    return UserError(f"{method.name} needs {what} here: give calibration ids or statistics")


def _allocate(
    layers: Sequence[PrunableLayer],
    pattern: SparsityPattern,
    statistics: Statistics,
    allocation: str,
) -> dict[int, SparsityPattern]:
    blocks = sorted({layer.block for layer in layers})
    if allocation == "uniform" or isinstance(pattern, NofM):
        return dict.fromkeys(blocks, pattern)
    ratios = owl_ratios(outlier_shares(layers, statistics), pattern.ratio)
    return {block: replace(pattern, ratio=ratios[block]) for block in blocks}


def _scope_name(method: Method, pattern: SparsityPattern) -> str:
    if isinstance(pattern, NofM):
        return "group"
    return pattern.scope if method.metric is not None else "columns"
