"""``pruner-zero search``: evolve a pruning metric for a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf

from pruner_zero.commands.display import Display
from pruner_zero.commands.final import measure_tests, validate
from pruner_zero.commands.flatten import flatten
from pruner_zero.commands.outcome import counts, present, savings
from pruner_zero.commands.places import Place, open_places, search_work
from pruner_zero.commands.report import leave_report
from pruner_zero.commands.resume import finished, open_run
from pruner_zero.commands.schema import SearchCommandConfig
from pruner_zero.commands.search_checks import checked
from pruner_zero.commands.setup import Workbench, open_workbench
from pruner_zero.commands.workers import at_work
from pruner_zero.errors import UserError
from pruner_zero.files import write_json
from pruner_zero.metric import load_operators, operator_set
from pruner_zero.metric.own_operators import OperatorFile
from pruner_zero.model.perplexity import check_dense
from pruner_zero.model.sparsity import SparsityPattern, Unstructured
from pruner_zero.provenance import device_name, provenance
from pruner_zero.search.algorithms import SearchAlgorithm, make_algorithm
from pruner_zero.search.driver import Evaluator, Progress, observed_by, run_search
from pruner_zero.search.flight import Flight
from pruner_zero.search.run_folder import RunFolder
from pruner_zero.tracking import SearchTracking, track

HELP = """\
pruner-zero search: evolve a pruning metric by genetic programming

A metric is a formula over |weight| W, gradient magnitude G and activation norm X that scores every
weight; the lowest scores are pruned. The search keeps a population of formulas, crosses over and
mutates them, simplifies every offspring, and keeps those whose pruned model has the lowest
perplexity.

usage: pruner-zero search [KEY=VALUE ...] [-m] [--cfg job]

  experiment=wide|adaptive|paper|tiny  settings by name: those that found masks better than
                                       SparseGPT's at 50 %; metrics in place of its saliency at 2:4;
                                       the paper's own space at full size; all in seconds
  model=smollm2-135m|llama2-7b|tinyllama-1.1b|random-tiny    or model=hub model.path=ORG/NAME|FOLDER
  corpus=wikipedia|news|wikitext2|c4|ptb                     or corpus=files corpus.files=[my.txt]
  sparsity=0.5|2:4|4:8       share of weights to prune, or N of every M consecutive inputs
  scope=row|layer|block|model    whose scores compete (default: each output row)
  operators=paper|extended|wide  terminals=paper|wide    the words of the formulas
  operator_files=[mine.py]   operators of your own beside these; probed before anything is loaded
  simplify=none|oos|exact|rank   oos is the paper's opposing operation simplification
  search=steady_state|mu_plus_lambda|nsga2|random    the paper's evolution, generations, a front of
                                                    perplexity and size, random as the baseline
  search.population_size=16  search.generations=7   search.minutes=3.5  search.evaluations=null
  search.pool_ratio=0.5      search.top_k=5         tournament: parents are two of the best top_k
                                                    of a pool_ratio sample of the population
  search.seeds=[wanda,'mul(W,G)@layer']             known metrics that open the population;
                                                    NAME@all: in each of search.scopes
  search.scopes=[row,layer,block,model]             evolve the scope too; not with N:M
  search.constants=[0.5,2]   search.tune.share=0.1  numbers in formulas, and how often to tune them
  search.init=grow|full|half_and_half               search.diversity=none|sharing|age
  search.stagnation=50       search.offspring_size=32    (generations only)
  search.mutation_probability=0.5                   search.crossover_probability=0.9
  search.immigrants=0.2      share of random trees among the offspring
  search.variation.mutation_weights.KIND=0.5        KIND: node, subtree, hoist, shrink, insert,
                                                    constant, power, scope
  calibration=quick|full     sequences on which G and X are measured
  fitness=quick|full         windows of text on which every candidate is evaluated
  fitness.domains=[news]  validation.domains=[news]  corpora beside the search's own, in turn
  fitness.racing.enabled=true    stop a candidate early when it cannot reach the hall of fame
  fitness.sparsity=[0.5,2:4] fitness.models=[…]     judge by several sparsities or models at once
  fitness.update=obs|adaptive    SparseGPT's weight update follows every candidate's masks, or
                                 candidates choose while it goes on, as SparseGPT does
  mode=one_shot|sequential       how validation and the final table prune
  fitness.compile=true           torch.compile the decoder (fitness.score_memory: see conf/fitness)
  ledger=null|FILE|off       evaluations known from earlier runs are not computed again
  workers=local|ray          candidates one after another, or on Ray actors, one per GPU:
  workers.count=8 workers.cpus=4 workers.gpus=0.5 workers.address=auto|HOST:PORT|ray://HOST:PORT
  workers.in_flight=16       candidates in flight, on which the course of the search depends
  tracker=none|tensorboard|mlflow|wandb    follow the run there too; tracker.place says where
  seed=0  device=auto|cpu|cuda
  memory=auto|resident|blockwise    the whole model on the device, or one decoder block at a time
  resume=auto|RUN_FOLDER     continue the last unfinished run of these settings, or that one

  -m, --multirun   sweep: pruner-zero search -m seed=1,2,3 search.population_size=20,50
  --cfg job        print the composed configuration and stop
"""


def check_settings(cfg: DictConfig) -> None:
    """Find the mistakes of a configuration that can be found before a file is read.

    Raises:
        UserError: says which setting and what to write instead.
    """
    load_operators(list(cfg.operator_files))
    checked(cast(SearchCommandConfig, OmegaConf.to_object(cfg)))


class _Ready(NamedTuple):
    """A search that has everything it needs, and has spent nothing yet."""

    cfg: DictConfig
    config: SearchCommandConfig
    bench: Workbench
    places: Sequence[Place]
    algorithm: SearchAlgorithm
    own: Sequence[OperatorFile]
    folder: RunFolder
    continued: bool
    began: float


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
    display = display or Display()
    own = load_operators(list(cfg.operator_files))
    patterns = checked(cast(SearchCommandConfig, OmegaConf.to_object(cfg)))
    if finished(cfg, output):
        display.say(f"{output} is finished already")
        return RunFolder(output)
    folder, continued = open_run(cfg, output, own)
    config = cast(SearchCommandConfig, OmegaConf.to_object(cfg))
    display.say(f"run folder {folder.path}")
    bench = open_workbench(config, display, search_work(config))
    places = open_places(config, bench, patterns, display)
    algorithm = make_algorithm(
        config.search,
        config.seed,
        lambda metric, scope: metric.simplified(config.simplify, scope or _scope(patterns)),
        (*operator_set(config.operators), *(one for file in own for one in file.operators)),
        config.terminals,
    )
    ready = _Ready(cfg, config, bench, places, algorithm, own, folder, continued, began)
    try:
        with ExitStack() as tracked:
            dense = _dense(places, display)
            tracking, progress = _evolve(ready, tracked, display)
            tracking.outcome(_conclude(ready, progress, dense, display))
    except KeyboardInterrupt:
        if folder.config.exists():
            display.say("continue with the same command and resume=" + str(folder.path))
            leave_report(folder.path, display)
        else:
            display.say("stopped before the first candidate: start the command again")
        raise SystemExit(130) from None
    leave_report(folder.path, display)
    return folder


def _evolve(ready: _Ready, tracked: ExitStack, display: Display) -> tuple[SearchTracking, Progress]:
    """Begin or take up the run and search until the budget is spent.

    Raises:
        KeyboardInterrupt: what was evaluated is in the folder.
    """
    cfg, config, bench, places, algorithm, own, folder, continued, _ = ready
    files = [(file.path.name, file.text) for file in own]
    texts = [file.text for file in own]
    with at_work(config.workers, places, bench.device, display, texts) as (worker, depth):
        flight = Flight(depth)
        before = Progress(worker.full_tokens)
        if continued:
            folder.check_texts(places[0].texts)
            before = _continue(folder, algorithm, worker, flight, display)
        else:
            cfg.workers.in_flight = depth
            folder.begin(OmegaConf.to_yaml(cfg, resolve=True), files, places[0].texts)
        tracking = tracked.enter_context(
            track(config.tracker, folder.path, flatten(cfg), before.candidates, display.say)
        )
        wanted = ", ".join(dict.fromkeys(str(place.worker.pattern) for place in places))
        display.say(
            f"searching: up to {config.search.candidates} candidates, sparsity {wanted}, "
            f"operators {config.operators}, simplify {config.simplify}, seed {config.seed}"
        )
        with display.search(config.search) as observer:
            progress = run_search(
                algorithm,
                worker,
                folder,
                observed_by(observer, tracking),
                before,
                config.fitness.racing.place,
                config.fitness.fingerprint,
                flight,
            )
    display.say(savings(progress))
    if progress.stopped == "interrupted":
        raise KeyboardInterrupt
    return tracking, progress


def _conclude(ready: _Ready, progress: Progress, dense: float, display: Display) -> dict[str, Any]:
    """Choose on the validation split, measure the test splits once, write and print the results.

    Raises:
        UserError: no candidate gave a usable model.
    """
    _, config, bench, places, algorithm, _, folder, _, began = ready
    ranking = algorithm.ranking()
    if not ranking:
        leave_report(folder.path, display)
        raise UserError(
            f"no candidate gave a usable model; the reasons are in {folder.log}: "
            "search longer, or with another sparsity"
        )
    candidates = ranking[: config.validation.candidates]
    picks = validate(places, candidates, display, config.fitness.update, config.mode)
    results = {
        "table": measure_tests(
            places,
            config.test.baselines,
            picks[0],
            display,
            config.fitness.update,
            config.mode,
        ),
        "test": {
            "split": "test",
            "mode": config.mode,
            "corpora": {name: list(ids.shape) for name, ids in places[0].tests.items()},
            "corpus_sha256": bench.corpus.fingerprint,
        },
        "validation": [pick.record() for pick in picks],
        "search": {**counts(progress), "dense_perplexity": dense},
        "best": {
            **picks[0].record(),
            "latex": picks[0].metric.latex(),
            "update": config.fitness.update,
        },
        "front": [
            {
                "expression": str(member.metric),
                "scope": member.scope,
                "search_perplexity": member.perplexity,
                "parts": list(member.parts),
                "nodes": member.size,
            }
            for member in algorithm.front()
        ],
        "seed": config.seed,
        "provenance": provenance(bench.device),
        "minutes": round((time.monotonic() - began) / 60, 2),
    }
    write_json(folder.best, picks[0].metric.to_json(), indent=4)
    write_json(folder.results, results)
    present(results, folder, picks[0], display)
    return results


def _scope(patterns: Sequence[SparsityPattern]) -> str:
    """The scope that simplification must respect: the widest is also right for the others."""
    return next((p.scope for p in patterns if isinstance(p, Unstructured)), "row")


def _dense(places: Sequence[Place], display: Display) -> float:
    """Measure every dense model on the search windows, say it, and warn when it is absurd.

    Returns:
        The first model's perplexity.
    """
    workers = {place.model: place.worker for place in places}
    values = []
    for name, worker in workers.items():
        values.append(worker.perplexity(None, worker.ids))
        display.say(
            f"dense model{f' {name}' if len(workers) > 1 else ''}: perplexity {values[-1]:.2f} on "
            f"the search windows ({worker.ids.shape[0]} x {worker.ids.shape[1]} tokens), "
            f"{device_name(worker.head.device)}"
        )
        if warning := check_dense(values[-1]):
            display.say(f"warning: {warning}")
    return values[0]


def _continue(
    folder: RunFolder,
    algorithm: SearchAlgorithm,
    worker: Evaluator,
    flight: Flight,
    display: Display,
) -> Progress:
    """Restore a search from its folder; return the progress that it had made."""
    saved = folder.resume()
    if saved is None:
        return Progress(worker.full_tokens)
    state, records = saved
    try:
        algorithm.restore(state)
        flight.restore(state["flight"], algorithm.primitives)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder.checkpoint} is damaged ({type(error).__name__}: {error}): start a new run"
        ) from error
    for record in records:
        worker.remember(record)
    display.say(f"resumed after candidate {algorithm.told} of {folder.path}")
    return Progress.of(worker.full_tokens, records)
