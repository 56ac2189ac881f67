"""``pruner-zero search``: evolve a pruning metric for a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pruner_zero.commands.display import Display
from pruner_zero.commands.final import Pick, measure_test, validate
from pruner_zero.commands.resume import open_run
from pruner_zero.commands.schema import SearchCommandConfig
from pruner_zero.commands.setup import (
    Workbench,
    calibrated,
    calibration_ids,
    calibration_key,
    ledger_context,
    open_workbench,
)
from pruner_zero.data.corpus import load_corpus
from pruner_zero.errors import UserError
from pruner_zero.files import write_atomic, write_json
from pruner_zero.metric import operator_set, terminal_set
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.loading import resolve_device
from pruner_zero.model.methods import resolve_method
from pruner_zero.model.perplexity import check_dense
from pruner_zero.model.sparsity import NofM, SparsityPattern, parse_sparsity
from pruner_zero.provenance import device_name, provenance
from pruner_zero.search.algorithms import SearchAlgorithm, make_algorithm
from pruner_zero.search.config import check_scopes, check_simplification
from pruner_zero.search.driver import Progress, run_search
from pruner_zero.search.run_folder import RunFolder
from pruner_zero.search.worker import FitnessWorker

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
  operators=paper|extended|wide  terminals=paper|wide    the words of the formulas
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
  fitness.racing.enabled=true    stop a candidate early when it cannot reach the hall of fame
  ledger=null|FILE|off       evaluations known from earlier runs are not computed again
  seed=0  device=auto|cpu|cuda
  resume=auto|RUN_FOLDER     continue the last unfinished run of these settings, or that one

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
    folder, continued = open_run(cfg, output)
    display.say(f"run folder {folder.path}")
    bench = open_workbench(config.model, config.corpus, config.device, config.cache, display)
    pattern.check(prunable_layers(bench.model))  # before minutes go into statistics
    tests = _test_windows(config, bench, display)
    ids = bench.windows("search", config.fitness.length, config.fitness.windows)
    validation = bench.windows("validation", config.validation.length, config.validation.windows)
    statistics = calibrated(bench, config.calibration, config.seed, display, _terminals(config))
    key = calibration_key(bench, config.calibration, config.seed)
    ledger = ledger_context(bench, key, ids, str(pattern), config.ledger, display)
    worker = FitnessWorker(bench.model, statistics, ids, pattern, config.fitness.racing, ledger)

    algorithm = make_algorithm(
        config.search,
        config.seed,
        lambda metric, scope: metric.simplified(config.simplify, scope or _scope(pattern)),
        config.operators,
        config.terminals,
    )
    before = Progress(worker.full_tokens)
    if continued:
        before = _continue(folder, algorithm, worker, display)
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
            algorithm,
            worker,
            folder,
            observer,
            before,
            config.fitness.racing.place,
            config.fitness.fingerprint,
        )
    display.say(_savings(progress))
    if progress.stopped == "interrupted":
        display.say("continue with the same command and resume=" + str(folder.path))
        raise SystemExit(130)
    ranking = algorithm.ranking()
    if not ranking:
        raise UserError(
            f"no candidate gave a usable model; the reasons are in {folder.log}: "
            "search longer, or with another sparsity"
        )
    picks = validate(worker, ranking[: config.validation.candidates], validation, display)
    calibration = calibration_ids(bench, config.calibration, config.seed)
    table = measure_test(worker, config.test.baselines, picks[0], tests, calibration, display)
    results = {
        "table": table,
        "test": {
            "split": "test",
            "corpora": {name: list(windows.shape) for name, windows in tests.items()},
            "corpus_sha256": bench.corpus.fingerprint,
        },
        "validation": [pick.record() for pick in picks],
        "search": {**_counts(progress), "dense_perplexity": dense},
        "best": {**picks[0].record(), "latex": picks[0].metric.latex()},
        "seed": config.seed,
        "provenance": provenance(bench.device),
        "minutes": round((time.monotonic() - began) / 60, 2),
    }
    write_json(folder.best, picks[0].metric.to_json(), indent=4)
    write_json(folder.results, results)
    _present(results, folder, picks[0], display)
    return folder


def _checked(config: SearchCommandConfig) -> SparsityPattern:
    """Find every mistake that can be found before a file is read."""
    config.search.check()
    config.fitness.racing.check()
    check_simplification(config.simplify)
    operator_set(config.operators)
    terminal_set(config.terminals)
    for name in config.test.baselines:
        resolve_method(name)
    for group in ("calibration", "fitness", "validation", "test"):
        part = getattr(config, group)
        for key in ("sequences", "windows", "length", "candidates"):
            value = getattr(part, key, None)
            least = 2 if key == "length" else 1
            if value is not None and value < least:
                raise UserError(f"{group}.{key} must be at least {least}")
    if config.device != "auto":
        resolve_device(config.device)
    pattern = parse_sparsity(config.sparsity, config.scope)
    check_scopes(config.search, pattern)
    return pattern


def _terminals(config: SearchCommandConfig) -> set[str]:
    """The terminals that metrics of this search may read."""
    names = {terminal.name for terminal in terminal_set(config.terminals)}
    return names.union(*(seed.metric.terminals for seed in config.search.known_metrics()))


def _scope(pattern: SparsityPattern) -> str:
    return "row" if isinstance(pattern, NofM) else pattern.scope


def _test_windows(
    config: SearchCommandConfig, bench: Workbench, display: Display
) -> dict[str, Any]:
    """Test windows of the search's own corpus and of the other domains, by corpus."""
    own = config.corpus.name
    pair = ["wikipedia", "news"]
    domains = config.test.domains
    if domains is None:
        domains = pair if own in pair else []
    windows = {own: bench.windows("test", config.test.length, config.test.windows)}
    for name in domains:
        if name not in windows:
            other = Workbench(
                bench.model,
                bench.tokenizer,
                load_corpus(name, cache=bench.cache, announce=display.say),
                bench.cache,
            )
            windows[name] = other.windows("test", config.test.length, config.test.windows)
    return windows


def _continue(
    folder: RunFolder, algorithm: SearchAlgorithm, worker: FitnessWorker, display: Display
) -> Progress:
    """Restore a search from its folder; return the progress that it had made."""
    saved = folder.resume()
    if saved is None:
        return Progress(worker.full_tokens)
    state, records = saved
    algorithm.restore(state)
    for record in records:
        worker.remember(record)
    display.say(f"resumed after candidate {algorithm.asked} of {folder.path}")
    return Progress.of(worker.full_tokens, records)


def _counts(progress: Progress) -> dict[str, Any]:
    """The progress as plain JSON values."""
    return {
        "candidates": progress.candidates,
        "evaluations": progress.evaluations,
        "full_evaluations": round(progress.equivalents, 2),
        "tokens": progress.cost,
        "tokens_computed": progress.computed,
        "known_by": progress.known_by,
        "refused_by_fingerprint": progress.refused,
        "stopped_early": progress.stopped_early,
        "failed": progress.failed,
        "seconds": round(progress.seconds, 1),
        "stopped": progress.stopped,
    }


def _savings(progress: Progress) -> str:
    """Say in a few lines what was searched, and what it did not cost."""
    known = ", ".join(f"{n} by {level}" for level, n in sorted(progress.known_by.items()))
    ledger = progress.cost - progress.computed
    return (
        f"search ended ({progress.stopped}): {progress.candidates} candidates in "
        f"{progress.seconds / 60:.1f} min, work of {progress.equivalents:.1f} full evaluations\n"
        f"  {progress.stopped_early} stopped early, {progress.failed} failed, "
        f"known: {known or 'none'}, {progress.refused} repeats refused before evaluation"
        + (f", {ledger:,} tokens from the ledger" if ledger else "")
    )


def _present(results: dict[str, Any], folder: RunFolder, best: Pick, display: Display) -> None:
    corpora = results["test"]["corpora"]
    sizes = ", ".join(f"{name} {n} x {length}" for name, (n, length) in corpora.items())
    header = ["method", "sparsity", "scope", *(f"{name} test" for name in corpora), "metric"]
    rows = [
        [
            row["method"],
            row["sparsity"],
            row["scope"] or "",
            *(_shown(row["test_perplexity"][name]) for name in corpora),
            row["metric"] or "",
        ]
        for row in results["table"]
    ]
    title = f"Perplexity on test splits ({sizes} tokens)"
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]
    write_atomic(folder.table, f"{title}\n\n" + "\n".join(lines) + "\n")
    display.table(title, header, rows)
    scope = f", scope {best.scope}" if best.scope else ""
    display.say(f"best metric   {best.metric}{scope}")
    display.say(f"as JSON tree  {folder.best}")
    display.say(f"run folder    {folder.path}")
    display.say(f"total time    {results['minutes']:.1f} min")


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2f}"
