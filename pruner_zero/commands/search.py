"""``pruner-zero search``: evolve a pruning metric for a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pruner_zero.commands.display import Display
from pruner_zero.commands.schema import SearchCommandConfig
from pruner_zero.commands.setup import Workbench, calibrated, open_workbench
from pruner_zero.errors import UserError
from pruner_zero.files import write_atomic, write_json
from pruner_zero.metric import Metric, operator_set
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.loading import resolve_device
from pruner_zero.model.perplexity import check_dense
from pruner_zero.model.sparsity import NofM, SparsityPattern, parse_sparsity
from pruner_zero.provenance import device_name, provenance
from pruner_zero.search.algorithms import SearchAlgorithm, make_algorithm
from pruner_zero.search.config import check_scopes, check_simplification
from pruner_zero.search.driver import Progress, run_search
from pruner_zero.search.run_folder import RunFolder
from pruner_zero.search.worker import FitnessWorker

# What may differ between a run and its continuation: how long it goes on, and where.
_FREE_ON_RESUME = ("resume", "device", "cache", "search.generations", "search.evaluations",
                   "search.minutes", "test")  # fmt: skip

HELP = """\
pruner-zero search: evolve a pruning metric by genetic programming

A metric is a formula over |weight| W, gradient magnitude G and activation norm X that scores every
weight; the lowest scores are pruned. The search keeps a population of formulas, crosses over and
mutates them, simplifies every offspring, and keeps those whose pruned model has the lowest
perplexity.

usage: pruner-zero search [KEY=VALUE ...] [-m] [--cfg job]

  model=smollm2-135m|llama2-7b|tinyllama-1.1b|random-tiny    or model=hub model.path=ORG/NAME|FOLDER
  corpus=wikipedia|news|wikitext2|c4|ptb                     or corpus=files corpus.files=[my.txt]
  sparsity=0.5|2:4|4:8       share of weights to prune, or N of every M consecutive inputs
  scope=row|layer|block|model    whose scores compete (default: each output row)
  operators=paper|extended   the words of the formulas
  simplify=none|oos|exact|rank   oos is the paper's opposing operation simplification
  search=steady_state|mu_plus_lambda|nsga2|random    the paper's evolution, generations, a front of
                                                    perplexity and size, random as the baseline
  search.population_size=16  search.generations=7   search.minutes=4.5  search.evaluations=null
  search.pool_ratio=0.5      search.top_k=5         tournament: parents are two of the best top_k
                                                    of a pool_ratio sample of the population
  search.seeds=[wanda,'mul(W,G)@layer']             known metrics that open the population
  search.scopes=[row,layer,block,model]             evolve the scope too; not with N:M
  search.constants=[0.5,2]   search.tune.share=0.1  numbers in formulas, and how often to tune them
  search.init=grow|full|half_and_half               search.diversity=none|sharing|age
  search.stagnation=50       search.offspring_size=32    (generations only)
  search.variation.mutation_probability=0.5         search.variation.crossover_probability=0.9
  search.variation.mutation_weights.KIND=0.5        KIND: node, subtree, hoist, shrink, insert,
                                                    constant, scope
  calibration=quick|full     sequences on which G and X are measured
  fitness=quick|full         windows of text on which every candidate is evaluated
  seed=0  device=auto|cpu|cuda  resume=RUN_FOLDER

  -m, --multirun   sweep: pruner-zero search -m seed=1,2,3 search.population_size=20,50
  --cfg job        print the composed configuration and stop
"""


def search(cfg: DictConfig, output: Path, display: Display | None = None) -> RunFolder:
    """Run one search from a composed configuration.

    Args:
        cfg: of the search command's schema.
        output: the run folder, unless a run is resumed.
        display: where to print.

    Returns:
        The run folder, complete.

    Raises:
        UserError: for anything that the user can mend; nothing is lost.
        SystemExit: with status 130 after Ctrl-C; the run can be resumed.
    """
    began = time.monotonic()
    config = cast(SearchCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    pattern = _checked(config)
    folder = _run_folder(config, cfg, output)
    display.say(f"run folder {folder.path}")
    bench = open_workbench(config.model, config.corpus, config.device, config.cache, display)
    pattern.check(prunable_layers(bench.model))  # before minutes go into statistics
    test_ids = bench.windows("test", config.test.length, config.test.windows)
    ids = bench.windows("search", config.fitness.length, config.fitness.windows)
    statistics = calibrated(bench, config.calibration, config.seed, display)
    worker = FitnessWorker(bench.model, statistics, ids, pattern)

    algorithm = make_algorithm(
        config.search,
        config.seed,
        lambda metric, scope: metric.simplified(config.simplify, scope or _scope(pattern)),
        config.operators,
    )
    done = 0
    if config.resume:
        done = _continue(folder, algorithm, worker, display)
    else:
        folder.begin(OmegaConf.to_yaml(cfg, resolve=True))
    dense = worker.perplexity(None, ids)
    display.say(
        f"dense model: perplexity {dense:.2f} on the search windows "
        f"({ids.shape[0]} x {ids.shape[1]} tokens), {device_name(bench.device)}"
    )
    if warning := check_dense(dense):
        display.say(f"warning: {warning}")
    display.say(
        f"searching: up to {config.search.candidates} candidates, sparsity {pattern}, "
        f"operators {config.operators}, simplify {config.simplify}, seed {config.seed}"
    )
    with display.search(config.search) as observer:
        progress = run_search(
            algorithm, lambda c: worker.evaluate(c.metric), folder, observer, done
        )
    display.say(
        f"search ended ({progress.stopped}): {progress.candidates} candidates, "
        f"{progress.evaluations} evaluated by the model, {progress.seconds / 60:.1f} min"
    )
    if progress.stopped == "interrupted":
        display.say(f"continue with: pruner-zero search resume={folder.path} and the same settings")
        raise SystemExit(130)
    best = algorithm.best
    if best is None:
        raise UserError(
            f"no candidate gave a usable model; the reasons are in {folder.log}: "
            "search longer, or with another sparsity"
        )
    results = _final(config, bench, worker, best, test_ids, progress, dense, display)
    results["search"]["best_perplexity"] = algorithm.best_perplexity
    results["minutes"] = round((time.monotonic() - began) / 60, 2)
    write_json(folder.results, results)
    _present(results, folder, best, display)
    return folder


def _checked(config: SearchCommandConfig) -> SparsityPattern:
    """Find every mistake that can be found before a file is read."""
    config.search.check()
    check_simplification(config.simplify)
    operator_set(config.operators)
    for name in config.test.baselines:
        Metric.named(name)
    for group in ("calibration", "fitness", "test"):
        part = getattr(config, group)
        for key in ("sequences", "windows", "length"):
            value = getattr(part, key, None)
            least = 2 if key == "length" else 1
            if value is not None and value < least:
                raise UserError(f"{group}.{key} must be at least {least}")
    if config.device != "auto":
        resolve_device(config.device)
    pattern = parse_sparsity(config.sparsity, config.scope)
    check_scopes(config.search, pattern)
    return pattern


def _scope(pattern: SparsityPattern) -> str:
    return "row" if isinstance(pattern, NofM) else pattern.scope


def _run_folder(config: SearchCommandConfig, cfg: DictConfig, output: Path) -> RunFolder:
    """The folder of a new run, or of the run to resume if its settings are the same."""
    if not config.resume:
        return RunFolder(output)
    path = Path(config.resume)
    if not (path / "config.yaml").exists():
        raise UserError(f"resume: {path} holds no run")
    folder = RunFolder(path)
    before = _flat(OmegaConf.to_container(OmegaConf.load(folder.config)))
    now = _flat(OmegaConf.to_container(cfg, resolve=True))
    differing = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
        and not any(key == free or key.startswith(f"{free}.") for free in _FREE_ON_RESUME)
    ]
    if differing:
        raise UserError(f"resume: the run was made with other values of {', '.join(differing)}")
    return folder


def _flat(config: Any) -> dict[str, Any]:
    """Return a configuration with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": leaf for inner, leaf in _flat(value).items()})
        else:
            flat[str(key)] = value
    return flat


def _continue(
    folder: RunFolder, algorithm: SearchAlgorithm, worker: FitnessWorker, display: Display
) -> int:
    """Restore a search from its folder; return the forward evaluations behind it."""
    saved = folder.resume()
    if saved is None:
        return 0
    state, records = saved
    algorithm.restore(state)
    for record in records:
        if record["digest"]:
            value = record["perplexity"]
            worker.known[record["digest"]] = float("inf") if value is None else value
    display.say(f"resumed after candidate {algorithm.asked}")
    return sum(record["tokens"] > 0 for record in records)


def _final(
    config: SearchCommandConfig,
    bench: Workbench,
    worker: FitnessWorker,
    best: Metric,
    test_ids: Any,
    progress: Progress,
    dense_search: float,
    display: Display,
) -> dict[str, Any]:
    """Measure the test split, which the search never saw."""
    entries: list[tuple[str, Metric | None]] = [("dense", None)]
    entries += [(name, Metric.named(name)) for name in config.test.baselines]
    entries += [("best of this search", best)]
    display.say("measuring the test split")
    rows = []
    with display.steps("testing") as step:
        for index, (name, metric) in enumerate(entries):
            value = worker.perplexity(metric, test_ids)
            rows.append(
                {
                    "method": name,
                    "metric": None if metric is None else str(metric),
                    "sparsity": 0 if metric is None else str(worker.pattern),
                    "test_perplexity": value if value < float("inf") else None,
                }
            )
            step(index + 1, len(entries))
    return {
        "table": rows,
        "test": {
            "corpus": bench.corpus.name,
            "split": "test",
            "windows": test_ids.shape[0],
            "length": config.test.length,
            "corpus_sha256": bench.corpus.fingerprint,
        },
        "search": {
            "candidates": progress.candidates,
            "evaluations": progress.evaluations,
            "seconds": round(progress.seconds, 1),
            "stopped": progress.stopped,
            "dense_perplexity": dense_search,
            "windows": config.fitness.windows,
            "length": config.fitness.length,
        },
        "best": {"expression": str(best), "nodes": best.size, "latex": best.latex()},
        "scope": _scope(worker.pattern),
        "seed": config.seed,
        "provenance": provenance(bench.device),
    }


def _present(results: dict[str, Any], folder: RunFolder, best: Metric, display: Display) -> None:
    test = results["test"]
    place = f"{test['corpus']}, test split, {test['windows']} x {test['length']} tokens"
    header = ["method", "sparsity", "test perplexity", "metric"]
    rows = [
        [
            row["method"],
            str(row["sparsity"]),
            "not finite" if row["test_perplexity"] is None else f"{row['test_perplexity']:.2f}",
            row["metric"] or "",
        ]
        for row in results["table"]
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * 4, *rows]]
    write_atomic(folder.table, f"Perplexity on {place}\n\n" + "\n".join(lines) + "\n")
    display.table(f"Perplexity on {place}", header, rows)
    display.say(f"best metric   {best}")
    display.say(f"as JSON tree  {folder.best}")
    display.say(f"run folder    {folder.path}")
    display.say(f"total time    {results['minutes']:.1f} min")
