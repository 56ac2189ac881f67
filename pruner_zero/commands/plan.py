"""``pruner-zero plan``: how far can this model be pruned on this text?"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pruner_zero.commands.display import Display
from pruner_zero.commands.methods import missing_update, resolve_method_argument
from pruner_zero.commands.plan_report import percent, present_plan
from pruner_zero.commands.probes import Probes, plain
from pruner_zero.commands.schema import PlanCommandConfig
from pruner_zero.commands.setup import Workbench, calibrated, calibration_ids, open_workbench
from pruner_zero.commands.workload import workload
from pruner_zero.errors import UserError, check_distinct
from pruner_zero.metric import load_operators
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.loading import resolve_device
from pruner_zero.model.masks import InvalidScores
from pruner_zero.model.methods import Method
from pruner_zero.model.perplexity import check_dense, negative_log_likelihoods, perplexity_of
from pruner_zero.model.placement import check_memory
from pruner_zero.model.prune import prune
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.sparsity import NofM, parse_sparsity
from pruner_zero.model.statistics import MEASURED_TERMINALS
from pruner_zero.model.tolerance import Probe, compare_losses, highest_ratio
from pruner_zero.provenance import provenance

HELP = """\
pruner-zero plan: how far can I prune?

Finds, for each metric and pattern, the highest sparsity whose perplexity on the validation part of
your text stays within the tolerance. The dense model is measured first. Every probe is kept: after
an interruption the same command with output=FOLDER goes on.

usage: pruner-zero plan [KEY=VALUE ...]

  model=smollm2-135m|…  or model=hub model.path=ORG/NAME|FOLDER
  corpus=files corpus.files=[mine.txt]      your own text
  tolerance=5%                  how much perplexity may grow
  metrics=[wanda]               names, formulas, tree files or run folders
  operator_files=[mine.py]      operators of your own, for formulas that use them
  patterns=[unstructured,4:8,2:4]
  resolution=0.01  highest=0.9  step and end of unstructured sparsity
  calibration=quick|full  seed=0    the calibration text
  windows=16  length=512        of the validation split; windows=null takes all of it
  output=FOLDER  device=auto|cpu|cuda
  memory=auto|resident|blockwise    the whole model on the device, or one decoder block at a time
"""


def plan(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """Probe sparsities and answer with a table, a curve and a command.

    Args:
        cfg: of the plan command's schema.
        output: folder of ``plan.json``, ``plan.md``, ``plan.svg`` and ``probes.jsonl``.
        display: where to print.

    Raises:
        UserError: for anything that the user can mend.
    """
    config = cast(PlanCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    tolerance = parse_tolerance(config.tolerance)
    operators = [file.sha256 for file in load_operators(config.operator_files)]
    methods = [resolve_method_argument(name) for name in config.metrics]
    _check(config)
    for name in config.metrics:
        if update := missing_update(name):
            display.say(
                f"warning: {name} was judged with weight update {update}; plan measures it without"
            )
    probes = Probes(output, cfg, operators)
    if len(probes):
        counted = f"{len(probes)} probe" + ("s" if len(probes) > 1 else "")
        display.say(f"{counted} known, in {output}")
    try:
        result = _measured(config, methods, tolerance, probes, display)
        present_plan(result, cfg, output, display)
    except KeyboardInterrupt:
        display.say(f"stopped; {probes.how_to_go_on()}")
        raise SystemExit(130) from None


def _measured(
    config: PlanCommandConfig,
    methods: list[Method],
    tolerance: float,
    known: Probes,
    display: Display,
) -> dict[str, Any]:
    """Measure the dense model and every probe that is not known; return the plan."""
    terminals = {name for method in methods for name in method.reads_of_dense("one_shot")}
    bench = open_workbench(
        config,
        display,
        workload([(config.windows, config.length)], config.calibration, terminals, host_copy=True),
    )
    text = bench.corpus.fingerprint
    known.check_text(text)
    layers = prunable_layers(bench.model)
    patterns = [p for p in config.patterns if p != "unstructured"]
    for pattern in patterns:
        parse_sparsity(pattern).check(layers)
    ids = bench.windows("validation", config.length, config.windows)
    losses, tokens = bench.with_room(lambda: _losses(bench, ids, display))
    dense = perplexity_of(sum(losses), sum(tokens))
    if warning := check_dense(dense):
        display.say(f"warning: {warning}")
    display.say(
        f"dense perplexity {dense:.2f} on {bench.corpus.name}, validation split, "
        f"{ids.shape[0]} x {ids.shape[1]} tokens"
    )
    weights = DenseWeights(layers)
    rows: list[dict[str, Any]] = []
    for name, method in zip(config.metrics, methods, strict=True):
        statistics = None
        reads = method.reads_of_dense("one_shot") & MEASURED_TERMINALS
        if reads:
            statistics = calibrated(bench, config.calibration, config.seed, display, reads)
        calibration = calibration_ids(bench, config.calibration, config.seed)

        def measure(
            sparsity: str, ratio: float, method: Method = method, statistics: Any = statistics,
            calibration: Tensor = calibration, name: str = name,
        ) -> Probe:  # fmt: skip
            def pruned_losses() -> list[float]:
                with weights.lent():
                    prune(
                        bench.model, method, sparsity, calibration=calibration,
                        statistics=statistics, mode=cast(Any, method.flow("one_shot")),
                    )  # fmt: skip
                    return _losses(bench, ids, display)[0]

            def made() -> Probe:
                try:
                    values = bench.with_room(pruned_losses, beside=partial(weights.to, "cpu"))
                except InvalidScores as failure:
                    raise UserError(
                        f"metric {name} cannot prune this model: {failure}"
                    ) from failure
                return compare_losses(sparsity, ratio, values, losses, tokens)

            # Metrics that are one formula, such as a published one and a run's, share their probes.
            formula = f"{method.metric or method.name}@{method.scope}"
            found, before = known.get(formula, sparsity, text, made)
            display.say(
                f"  {name} at {sparsity}: perplexity {found.perplexity:,.2f} ({_signed(found)})"
                + (", known" if before else "")
            )
            return found

        if "unstructured" in config.patterns:
            best, probes = highest_ratio(
                lambda ratio, measure=measure: measure(f"{ratio:.4g}", ratio),  # type: ignore[misc]
                tolerance,
                config.resolution,
                config.highest,
            )
            rows.append(_row(name, method, "unstructured", best, probes))
        for pattern in patterns:
            parsed = cast(NofM, parse_sparsity(pattern))
            probe = measure(pattern, parsed.n / parsed.m)
            best = probe if probe.change <= tolerance else None
            rows.append(_row(name, method, pattern, best, [probe]))
    return {
        "model": config.model.path or config.model.name,
        "tolerance": tolerance,
        "dense_perplexity": dense,
        "validation": {
            "corpus": bench.corpus.name,
            "windows": list(ids.shape),
            "tokens": len(bench.corpus.tokens("validation", bench.tokenizer)),
        },
        "rows": rows,
        "provenance": provenance(bench.device),
    }


def parse_tolerance(text: str) -> float:
    """Read ``5%`` or ``0.05``; a bare 5 is more likely 5 % than five times as much, so neither.

    Raises:
        UserError: neither, or not above 0.
    """
    stripped = str(text).strip()
    try:
        value = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 100 or (value > 1 and not stripped.endswith("%")):
        raise UserError(f"tolerance={text}: write how much perplexity may grow, such as 5% or 0.05")
    return value


def _check(config: PlanCommandConfig) -> None:
    if not config.metrics or not config.patterns:
        raise UserError("plan needs at least one metric and one pattern")
    check_distinct("metrics", config.metrics)
    check_distinct("patterns", config.patterns)
    for pattern in config.patterns:
        if pattern != "unstructured" and not isinstance(parse_sparsity(pattern), NofM):
            raise UserError(f"patterns: write unstructured or N:M, not {pattern}")
    if not 0 < config.resolution <= config.highest < 1:
        raise UserError("plan needs 0 < resolution <= highest < 1")
    if (config.windows is not None and config.windows < 1) or config.length < 2:
        raise UserError("windows must be at least 1 and length at least 2")
    check_memory(config.memory)
    resolve_device(config.device)


def _losses(bench: Workbench, ids: Tensor, display: Display) -> tuple[list[float], list[int]]:
    with display.steps("measuring perplexity") as progress:
        nll, tokens = negative_log_likelihoods(
            bench.model, ids, window=ids.shape[1], progress=progress
        )
    return nll.tolist(), tokens.tolist()


def _row(
    name: str, method: Method, pattern: str, best: Probe | None, probes: list[Probe]
) -> dict[str, Any]:
    return {
        "metric": name,
        "mode": method.flow("one_shot"),
        "pattern": pattern,
        "best": None if best is None else plain(best),
        "probes": [plain(probe) for probe in probes],
    }


def _signed(probe: Probe) -> str:
    margin = "" if math.isinf(probe.margin) else f" ± {percent(probe.margin)}"
    return f"{percent(probe.change, '+')}{margin} %"
