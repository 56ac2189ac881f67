"""``pruner-zero evaluate``: zero-shot accuracy of a model, dense or pruned first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import nn

from pruner_zero.assets import cache_directory
from pruner_zero.commands.display import Display
from pruner_zero.commands.markdown import markdown_table
from pruner_zero.commands.pruned import checked_method, needs_text, pruned, pruning_work
from pruner_zero.commands.schema import EvaluateCommandConfig
from pruner_zero.commands.setup import open_workbench
from pruner_zero.errors import UserError
from pruner_zero.files import write_atomic, write_json
from pruner_zero.model.loading import dtype_name, fast_dtype, load_model, resolve_device
from pruner_zero.model.methods import Method
from pruner_zero.model.placement import check_memory
from pruner_zero.model.zeroshot import (
    Accuracy,
    TaskScore,
    load_tasks,
    require_harness,
    score_tasks,
)
from pruner_zero.provenance import provenance

HELP = """\
pruner-zero evaluate: zero-shot accuracy of a model, dense or pruned first

Scores the model through lm-evaluation-harness (pip install 'pruner-zero[zeroshot]') and reports acc
(most likely answer) and acc_norm (most likely answer per byte) side by side: they differ by points,
so compare them with published numbers of the same name. A dash: the task does not define it.

usage: pruner-zero evaluate [KEY=VALUE ...]

  model=smollm2-135m|llama2-7b|tinyllama-1.1b|random-tiny    or model=hub model.path=ORG/NAME|FOLDER
  metric=none                   the model as it is; or prune it first, by
  metric=magnitude|wanda|gblm|ria|sparsegpt|pruner-zero
  metric="'mul(W,G)'"           a formula, metric=best.json a tree file, metric=FOLDER a search run
  sparsity=0.5|2:4|4:8          share of weights to prune, or N of every M consecutive inputs
  mode=sequential|one_shot      block by block, or statistics of the dense model
  update=none|obs|adaptive  scope=row|layer|block|model  allocation=uniform|owl
  corpus=…  calibration=quick|full  seed=0      text on which a metric's G and X are measured

  tasks=[boolq,rte,hellaswag,winogrande,arc_easy,arc_challenge,openbookqa]
                                names of the harness, task files (my_task.yaml) or folders of them
  task_path=FOLDER              task files of your own, to be named in tasks=[…]
  limit=100                     questions per task (default: all)
  num_fewshot=null              solved examples in the prompt (default: each task's own)
  batch_size=8  output=FOLDER  device=auto|cpu|cuda
  memory=auto|resident|blockwise    the whole model on the device, or one decoder block at a time
"""


def evaluate(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """Prune a model if asked to, score it on tasks, and write ``results.json`` and ``results.md``.

    Args:
        cfg: of the evaluate command's schema.
        output: the run folder.
        display: where to print.

    Raises:
        UserError: for anything that the user can mend; task names and data are checked before the
            model is loaded.
    """
    config = cast(EvaluateCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    method = _checked(config, output)
    require_harness()
    display.say(f"loading {len(config.tasks)} tasks")
    folder = Path(config.task_path).expanduser() if config.task_path else None
    tasks = load_tasks(config.tasks, folder, config.num_fewshot)
    model, tokenizer, pruning = _model(config, method, display)
    display.say(f"scoring {', '.join(tasks)}")
    scores = score_tasks(model, tokenizer, tasks, config.limit, config.batch_size)
    results = {
        "model": config.model.path or config.model.name,
        "dtype": dtype_name(model),
        "pruning": pruning,
        "tasks": [asdict(score) for score in scores],
        "mean": {name: _mean(scores, name) for name in ("acc", "acc_norm")},
        "limit": config.limit,
        "num_fewshot": config.num_fewshot,
        "batch_size": config.batch_size,
        "lm_eval": version("lm_eval"),
        "provenance": provenance(next(model.parameters()).device),
    }
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(output / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_json(output / "results.json", results)
    _present(results, scores, output, display)


def _checked(config: EvaluateCommandConfig, output: Path) -> Method | None:
    """Find every mistake that can be found before a file is read; return the pruning method."""
    if (output / "results.json").exists():
        raise UserError(f"{output} already holds results: give another output")
    if not config.tasks:
        raise UserError("tasks: name at least one")
    for key, least in (("limit", 1), ("num_fewshot", 0), ("batch_size", 1)):
        value = getattr(config, key)
        if value is not None and value < least:
            raise UserError(f"{key} must be at least {least}")
    check_memory(config.memory)
    resolve_device(config.device)
    if config.metric in (None, "none"):
        return None
    return checked_method(config)


def _model(
    config: EvaluateCommandConfig, method: Method | None, display: Display
) -> tuple[nn.Module, Any, dict[str, Any] | None]:
    """Load the model and prune it; text is loaded only for a method that reads it."""
    texts = [(config.batch_size, 512)]
    if method is None or not needs_text(config, method):
        device = resolve_device(config.device)
        model, tokenizer = load_model(
            config.model.path or config.model.name,
            config.model.dtype or fast_dtype(device),
            device,
            Path(config.cache) if config.cache else cache_directory(),
            display.say,
            config.memory,
            pruning_work(config, method, texts),
        )
        bench = None
    else:
        bench = open_workbench(config, display, pruning_work(config, method, texts))
        model, tokenizer = cast(Any, bench.model), bench.tokenizer
    if method is None:
        return model, tokenizer, None
    _, facts = pruned(config, method, model, bench, display)
    return model, tokenizer, facts


def _mean(scores: Sequence[TaskScore], name: str) -> float | None:
    """The mean over tasks; None unless every task defines this accuracy."""
    values = [accuracy.value for s in scores if (accuracy := getattr(s, name)) is not None]
    return sum(values) / len(values) if len(values) == len(scores) else None


def _present(
    results: dict[str, Any], scores: Sequence[TaskScore], output: Path, display: Display
) -> None:
    pruning = results["pruning"]
    state = f"{pruning['method']} at {pruning['pattern']}" if pruning else "dense"
    title = f"Zero-shot accuracy in %: {results['model']}, {state}; lm_eval {results['lm_eval']}"
    if any(score.shots for score in scores):
        title = title.replace("Zero-shot", "Few-shot", 1)
    if results["limit"] is not None:
        title += f"; first {results['limit']} questions of each task, not comparable"
    header = ["task", "acc", "± stderr", "acc_norm", "± stderr", "samples", "shots"]
    rows = [
        [s.task, *_cells(s.acc), *_cells(s.acc_norm), str(s.samples), str(s.shots)] for s in scores
    ]
    if len(scores) > 1:
        means = [results["mean"][name] for name in ("acc", "acc_norm")]
        acc, norm = ("–" if value is None else f"{100 * value:.2f}" for value in means)
        rows.append(["mean", acc, "–", norm, "–", str(sum(s.samples for s in scores)), ""])
    write_atomic(output / "results.md", f"{title}\n\n{markdown_table(header, rows)}\n")
    display.table(title, header, rows)
    display.say(f"results  {output / 'results.md'}, {output / 'results.json'}")


def _cells(accuracy: Accuracy | None) -> tuple[str, str]:
    if accuracy is None:
        return "–", "–"
    stderr = "–" if accuracy.stderr is None else f"{100 * accuracy.stderr:.2f}"
    return f"{100 * accuracy.value:.2f}", stderr
