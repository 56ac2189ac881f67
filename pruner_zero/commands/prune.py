"""``pruner-zero prune``: write a pruned model as a standard Hugging Face folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig

from pruner_zero.commands.display import Display
from pruner_zero.commands.flatten import flatten
from pruner_zero.commands.model_card import model_card
from pruner_zero.commands.pruned import checked_method, pruned, pruning_work
from pruner_zero.commands.quoting import as_typed
from pruner_zero.commands.schema import PruneCommandConfig
from pruner_zero.commands.setup import measured_perplexity, open_workbench
from pruner_zero.errors import UserError
from pruner_zero.files import (
    check_new_folder,
    left_behind,
    whole_folder,
    write_atomic,
    write_json,
)
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.loading import quiet_libraries, resolve_device
from pruner_zero.model.methods import resolve_pattern
from pruner_zero.model.perplexity import check_dense
from pruner_zero.model.placement import place
from pruner_zero.model.prune_report import PruneReport, count_zeros
from pruner_zero.model.semi_structured import (
    accelerate,
    check_layers,
    check_pattern,
    tokens_per_second,
)
from pruner_zero.provenance import device_name, provenance

HELP = """\
pruner-zero prune: prune a model and keep it

Writes a folder that AutoModelForCausalLM.from_pretrained loads (safetensors, tokenizer, config,
model card), loads it back, counts its zeros per layer and measures its perplexity again. The folder
appears when all of that is done; an interrupted command leaves none.

usage: pruner-zero prune output=FOLDER [KEY=VALUE ...]

  model=smollm2-135m|llama2-7b|…  or model=hub model.path=ORG/NAME|FOLDER
  metric=wanda                  a name, a formula, a tree file or a run folder (its best metric)
  sparsity=0.5|2:4|4:8          share of weights to prune, or N of every M consecutive inputs
  mode=sequential|one_shot  update=none|obs|adaptive  scope=…  allocation=uniform|owl
  corpus=…  calibration=quick|full  seed=0      the calibration text
  windows=8  length=512         of the test split, for the perplexities
  accelerate_2of4=true          2:4 on CUDA: convert to semi-structured tensors, measure tokens/s
  device=auto|cpu|cuda
  memory=auto|resident|blockwise    the whole model on the device, or one decoder block at a time
"""

ZEROS = (
    "Zeros alone make a model neither smaller on disk nor faster. 2:4 runs faster on GPUs with "
    "sparse kernels; files shrink when they are compressed."
)


def prune(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """Prune a model, write it, and prove what was written.

    Args:
        cfg: of the prune command's schema.
        output: the new folder; must be empty or absent.
        display: where to print.

    Raises:
        UserError: for anything that the user can mend, before the model is loaded where possible.
    """
    config = cast(PruneCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    method = checked_method(config)
    device = resolve_device(config.device)
    if config.accelerate_2of4:
        check_pattern(resolve_pattern(method, config.sparsity, config.scope), device)
    check_new_folder(output)
    for part in left_behind(output):
        display.say(f"{part} was left by a command that was killed: it can be deleted")
    bench = open_workbench(
        config, display, pruning_work(config, method, [(config.windows, config.length)])
    )
    model = cast(Any, bench.model)
    if config.accelerate_2of4:
        if hosted_blocks(model):
            raise UserError("accelerate_2of4 needs the whole model on the device: memory=resident")
        check_layers(prunable_layers(model))
    ids = bench.windows("test", config.length, config.windows)
    dense = bench.with_room(lambda: measured_perplexity(model, ids, display))
    if warning := check_dense(dense):
        display.say(f"warning: {warning}")
    display.say(f"dense perplexity {dense:.2f} on {_place(bench.corpus.name, ids)}")
    report, facts = pruned(config, method, model, bench, display)
    value = bench.with_room(lambda: measured_perplexity(model, ids, display))
    if not math.isfinite(value):
        raise UserError(
            f"the perplexity of the model pruned by {report.method} is not finite, so it is not "
            "written: lower the sparsity, or set model.dtype=float32"
        )
    display.say(f"pruned perplexity {value:.2f}")

    name = config.model.path or config.model.name
    record = {
        "model": name,
        "pruning": facts,
        "layers": [{"name": layer.name, "zeros": layer.zeros} for layer in report.layers],
        "perplexity": {"dense": dense, "pruned": value},
        "test": {"corpus": bench.corpus.name, "split": "test", "windows": list(ids.shape)},
        "command": _command(cfg, output.name),
        "provenance": provenance(bench.device),
    }
    display.say(f"writing {output}")
    device, memory = bench.device, "blockwise" if hosted_blocks(model) else "resident"
    with whole_folder(output) as folder:
        _save(model, bench.tokenizer, folder)
        write_json(folder / "pruning.json", record)
        write_atomic(folder / "README.md", model_card(record, report, ZEROS))
        # Where one model fits, two may not: this one makes room for the one that was written.
        model.to("meta")
        written = _verified(folder, report, value, ids, device, memory, display)
    if config.accelerate_2of4:
        record["accelerated"] = _accelerated(written, device, ids, value, display)
        write_json(output / "pruning.json", record)
    else:
        display.say(ZEROS)
    display.say(f"load it with AutoModelForCausalLM.from_pretrained('{output}')")


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer as `transformers` does.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    model.config.use_cache = True
    with quiet_libraries():
        try:
            model.generation_config.validate(strict=True)
        except ValueError:
            # Some published models carry contradictory sampling settings, which cannot be saved.
            model.generation_config = GenerationConfig.from_model_config(model.config)
        try:
            model.save_pretrained(folder)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        tokenizer.save_pretrained(folder)


def _verified(
    folder: Path,
    report: PruneReport,
    expected: float,
    ids: Tensor,
    device: torch.device,
    memory: str,
    display: Display,
) -> nn.Module:
    """Load the written model and compare zeros and perplexity with those before; return it."""
    with quiet_libraries():
        loaded: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    place(loaded, device, memory)
    found = count_zeros(prunable_layers(loaded))
    wrong = [a.name for a, b in zip(report.layers, found, strict=True) if a.zeros != b.zeros]
    if wrong:
        raise UserError(f"the model was not written whole: other zeros in {', '.join(wrong[:3])}")
    value = measured_perplexity(loaded, ids, display)
    if abs(value / expected - 1) > 1e-4:
        raise UserError(
            f"the model was not written whole: perplexity {value:.4f}, not {expected:.4f}"
        )
    display.say(
        f"verified: loads, the same {report.zeros:,} zeros in {len(found)} layers, "
        f"perplexity {value:.2f}"
    )
    return loaded


def _accelerated(
    model: nn.Module, device: torch.device, ids: Tensor, pruned: float, display: Display
) -> dict[str, Any]:
    """Convert the pruned model in memory; return its speed before and after, tokens per second."""
    layers = prunable_layers(model)
    before = tokens_per_second(model, ids)
    accelerate(layers)
    after = tokens_per_second(model, ids)
    value = measured_perplexity(model, ids, display)
    display.say(
        f"2:4 on {device_name(device)}: {before:,.0f} tokens/s dense, {after:,.0f} tokens/s "
        f"with semi-structured tensors ({after / before:.2f} times; all blocks, without the output "
        f"head, {ids.shape[0]} x {ids.shape[1]} tokens at once); perplexity {value:.2f}, "
        f"dense form {pruned:.2f}"
    )
    display.say(
        "the files are dense; after loading, convert each pruned weight with "
        "torch.sparse.to_sparse_semi_structured, as pruner_zero.model.semi_structured does"
    )
    return {"dense_tokens_per_second": before, "tokens_per_second": after, "perplexity": value,
            "batch": list(ids.shape), "device": device_name(device)}  # fmt: skip


def _command(cfg: DictConfig, output: str) -> str:
    """The command that repeats this, with every setting that is not a path of this machine."""
    local = ("cache", "output", "device", "memory")
    usual = flatten(OmegaConf.structured(PruneCommandConfig))
    given = {
        key: value
        for key, value in flatten(cfg).items()
        if key not in local and not (value in (None, []) and value == usual.get(key))
    }
    return f"pruner-zero prune {as_typed({**given, 'output': output})}"


def _place(corpus: str, ids: Tensor) -> str:
    return f"{corpus}, test split, {ids.shape[0]} x {ids.shape[1]} tokens"
