"""``pruner-zero bench``: what one evaluation costs, beside the public flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from pruner_zero.assets import cache_directory
from pruner_zero.bench.candidate import Subject, time_candidate, time_forward
from pruner_zero.bench.inputs import random_ids, random_statistics
from pruner_zero.bench.limits import forward_operations, peak_memory, selection_bytes
from pruner_zero.bench.peaks import Peaks, measured_peaks
from pruner_zero.bench.public_flow import public_candidate
from pruner_zero.commands.bench_report import present_bench
from pruner_zero.commands.display import Display
from pruner_zero.commands.methods import resolve_method_argument
from pruner_zero.commands.schema import BenchCommandConfig
from pruner_zero.errors import OutOfDeviceMemory, UserError
from pruner_zero.files import write_atomic
from pruner_zero.metric import Metric
from pruner_zero.model.head import CausalHead, check_length
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.loading import dtype_name, fast_dtype, load_model, resolve_device
from pruner_zero.model.masks import InvalidScores, ScoreRoom
from pruner_zero.model.methods import Method, resolve_pattern
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.sparsity import NofM, parse_sparsity
from pruner_zero.provenance import provenance

HELP = """\
pruner-zero bench: time one evaluation, stage by stage, beside the public flow

Prunes by each metric, evaluates, restores, and reports the seconds of every stage, tokens per
second, the share of the device's measured matrix and memory speed, and peak memory. The public
code's flow (calibration passes, full sorts and float32 evaluation for every candidate) is timed in
the same run. Statistics and tokens are random: speed does not depend on their values.

usage: pruner-zero bench [KEY=VALUE ...]

  model=smollm2-135m|random-llama-1b|random-llama-7b    or model=hub model.path=ORG/NAME|FOLDER
  metrics=[wanda,'mul(W,G)@model']  sparsity=[0.5,2:4]
  windows=4 length=2048         tokens evaluated per candidate
  repeats=3                     the median counts
  compile=true                  torch.compile the decoder
  score_memory=1.0              GB for scores that compete over a block or the model
  public=false                  leave the public flow out
  public_metric=pruner-zero     its candidate; it reads at most W, G and X
  public_sequences=2 public_windows=1    how much of it is timed before scaling up; null: all
  calibration=full|quick        what it runs for every candidate: 128 x 2048 tokens, 16 x 512
  device=auto|cpu|cuda  threads=null  seed=0  output=FOLDER
"""


def bench(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """Measure, print, and write ``bench.json`` and ``bench.md``.

    Args:
        cfg: of the bench command's schema.
        output: the folder.
        display: where to print.

    Raises:
        UserError: for anything that the user can mend.
    """
    config = cast(BenchCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    methods, public = _checked(config, output)
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        results = _measured(config, methods, public, display)
    except (OutOfDeviceMemory, torch.OutOfMemoryError) as error:
        raise UserError(
            "out of memory: bench keeps the whole model on the device: set a smaller length, "
            "model.dtype=bfloat16, public=false or another model"
        ) from error
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(output / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    present_bench(results, output, display)


def _measured(
    config: BenchCommandConfig, methods: list[Method], public: Method | None, display: Display
) -> dict[str, Any]:
    device = resolve_device(config.device)
    name = config.model.path or config.model.name
    cache = Path(config.cache) if config.cache else cache_directory()
    model, _ = load_model(
        name, config.model.dtype or fast_dtype(device), device, cache, display.say
    )
    subject = _subject(config, model, methods)
    for pattern in map(parse_sparsity, config.sparsity):
        pattern.check(subject.layers)
    display.say("measuring the device")
    peaks = measured_peaks(device, next(model.parameters()).dtype)
    display.say(f"measuring the dense forward of {config.windows} x {config.length} tokens")
    time_forward(subject)  # warms up, and compiles
    dense = time_forward(subject, config.repeats)
    operations = forward_operations(subject)
    rows = []
    for method in methods:
        for text in config.sparsity:
            display.say(f"measuring {method.name} at {text}")
            rows.append(_row(config, subject, method, text, peaks, operations))
    results: dict[str, Any] = {
        "model": name,
        "dtype": dtype_name(model),
        "prunable_weights": sum(layer.weight.numel() for layer in subject.layers),
        "windows": config.windows,
        "length": config.length,
        "repeats": config.repeats,
        "compile": config.compile,
        "peaks": asdict(peaks),
        "dense": {
            "seconds": dense,
            "tokens_per_second": subject.ids.numel() / dense,
            "matmul_share": operations / dense / peaks.matmul,
        },
        "candidates": rows,
        "peak_memory": peak_memory(device),
    }
    if public:
        gradients, ids = dict(subject.statistics.G), subject.ids
        del subject  # room for the model in float32
        results["public"] = _public(config, model, public, gradients, ids, display)
        ours = next(r for r in rows if r["metric"] == public.name)
        results["public"]["ratio"] = results["public"]["seconds"] / ours["seconds"]
    results["provenance"] = provenance(device)
    return results


def _checked(config: BenchCommandConfig, output: Path) -> tuple[list[Method], Method | None]:
    """Find every mistake that can be found before the model is loaded."""
    if (output / "bench.json").exists():
        raise UserError(f"{output} already holds results: give another output")
    least = {"windows": 1, "length": 2, "repeats": 1, "threads": 1}
    least |= {"public_sequences": 1, "public_windows": 1}
    for key, value in least.items():
        given = getattr(config, key)
        if given is not None and given < value:
            raise UserError(f"{key} must be at least {value}")
    if config.score_memory < 0:
        raise UserError("score_memory must be at least 0")
    for key in ("metrics", "sparsity"):
        if not getattr(config, key):
            raise UserError(f"{key}: name at least one")
    for text in config.sparsity:
        parse_sparsity(text)
    resolve_device(config.device)
    methods = [_scored(text) for text in config.metrics]
    if not config.public:
        return methods, None
    public = _scored(config.public_metric)
    if extra := sorted(public.reads - {"W", "G", "X"}):
        raise UserError(f"public_metric reads {', '.join(extra)}, which the public code has not")
    if public.name not in (method.name for method in methods):
        methods.append(public)
    return methods, public


def _scored(text: str) -> Method:
    method = resolve_method_argument(text)
    if not isinstance(method.metric, Metric):
        raise UserError(f"{text} is no metric: bench times metrics")
    return method


def _subject(config: BenchCommandConfig, model: nn.Module, methods: Sequence[Method]) -> Subject:
    head = CausalHead.of(model)
    check_length(head, config.length)
    if config.public:
        check_length(head, config.calibration.length)
    layers = prunable_layers(model)
    reads = frozenset[str]().union(*(method.reads for method in methods))
    return Subject(
        head=head.compiled() if config.compile else head,
        dense=DenseWeights(layers),
        statistics=random_statistics(layers, reads, config.seed),
        room=ScoreRoom(int(config.score_memory * 1e9)),
        ids=random_ids(config.windows, config.length, head.vocabulary, config.seed),
    )


def _row(
    config: BenchCommandConfig,
    subject: Subject,
    method: Method,
    sparsity: str,
    peaks: Peaks,
    operations: float,
) -> dict[str, Any]:
    metric = cast(Metric, method.metric)
    pattern = resolve_pattern(method, sparsity, None)
    try:
        timing = time_candidate(subject, metric, pattern, config.repeats)
    except InvalidScores as failure:
        raise UserError(f"{method.name} cannot be timed: {failure}") from failure
    stages = timing.stages
    chosen = stages["score"] + stages["mask"] + stages["apply"]
    return {
        "metric": method.name,
        "sparsity": str(pattern),
        "scope": "group" if isinstance(pattern, NofM) else pattern.scope,
        "seconds": timing.total,
        "stages": dict(stages),
        "tokens_per_second": subject.ids.numel() / timing.total,
        "matmul_share": operations / timing.total / peaks.matmul,
        "bandwidth_share": selection_bytes(subject, metric) / chosen / peaks.bandwidth,
    }


def _public(
    config: BenchCommandConfig,
    model: nn.Module,
    method: Method,
    gradients: dict[str, Tensor],
    ids: Tensor,
    display: Display,
) -> dict[str, Any]:
    """Time the public flow on a part of its work, and scale that up."""
    sequences, length = config.calibration.sequences, config.calibration.length
    timed_sequences = min(config.public_sequences or sequences, sequences)
    timed_windows = min(config.public_windows or len(ids), len(ids))
    pattern = parse_sparsity(config.sparsity[0])
    display.say(
        f"measuring the public flow in float32: {timed_sequences} of {sequences} calibration "
        f"sequences of {length} tokens, {timed_windows} of {len(ids)} windows"
    )
    head = CausalHead.of(model)
    calibration = random_ids(timed_sequences, length, head.vocabulary, config.seed + 1)
    seconds, _ = public_candidate(
        model.float(),
        cast(Metric, method.metric),
        pattern,
        gradients,
        calibration,
        ids[:timed_windows],
    )
    scale = {"calibrate": sequences / timed_sequences, "forward": len(ids) / timed_windows}
    scaled = {stage: value * scale.get(stage, 1.0) for stage, value in seconds.items()}
    return {
        "metric": method.name,
        "sparsity": str(pattern),
        "sequences": sequences,
        "length": length,
        "timed_sequences": timed_sequences,
        "timed_windows": timed_windows,
        "timed_stages": seconds,
        "stages": scaled,
        "seconds": sum(scaled.values()),
    }
