"""Where a metric is judged: one model under one sparsity, with its texts; mostly there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from pruner_zero.commands.display import Display
from pruner_zero.commands.schema import (
    FitnessConfig,
    ModelConfig,
    SearchCommandConfig,
    ValidationConfig,
)
from pruner_zero.commands.setup import (
    Workbench,
    calibrated,
    calibration_ids,
    calibration_key,
    ledger_context,
    naming_split,
    open_ledger,
    open_workbench,
)
from pruner_zero.commands.workload import workload
from pruner_zero.data.corpus import Corpus, load_corpus
from pruner_zero.data.windows import mixed_windows
from pruner_zero.metric import load_operators, terminal_set
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.memory import Workload
from pruner_zero.model.methods import resolve_method
from pruner_zero.model.obs_update import ObsUpdate
from pruner_zero.model.sparsity import SparsityPattern
from pruner_zero.search.joint import JointWorker
from pruner_zero.search.ledger import Ledger
from pruner_zero.search.worker import WHOLE, FitnessWorker

_PAIR = ("wikipedia", "news")


@dataclass(frozen=True)
class Place:
    """One model under one sparsity.

    Attributes:
        model: its name or path.
        worker: prunes and measures it on the search windows.
        calibration: [N, L] token ids of the calibration split.
        validation: [N, L] token ids of the validation split.
        tests: corpus name → [N, L] token ids of the test split.
        texts: corpus name → fingerprint, of the calibration and search text.
    """

    model: str
    worker: FitnessWorker
    calibration: Tensor
    validation: Tensor
    tests: Mapping[str, Tensor]
    texts: Mapping[str, str]


def open_places(
    config: SearchCommandConfig,
    bench: Workbench,
    patterns: Sequence[SparsityPattern],
    display: Display,
) -> list[Place]:
    """Load every model, measure its statistics, and set up a worker for each sparsity.

    Args:
        config: the whole configuration.
        bench: the first model with the corpus.
        patterns: what is pruned.
        display: shows the progress.

    Raises:
        UserError: a pattern that does not fit a model, or too little text; before minutes go into
            statistics of the first model.
    """
    benches = {config.model.path or config.model.name: bench}
    for name in config.fitness.models:
        benches[name] = open_workbench(
            replace(config, model=ModelConfig(name)), display, search_work(config)
        )
    for one in benches.values():
        for pattern in patterns:
            pattern.check(prunable_layers(one.model))
    corpora = {config.corpus.name: bench.corpus}
    for domain in (*_tested(config), *config.fitness.domains, *config.validation.domains):
        if domain not in corpora:
            corpora[domain] = load_corpus(domain, cache=bench.cache, announce=display.say)
    ledger = open_ledger(config.ledger, bench.cache, display)
    return [
        place
        for name, one in benches.items()
        for place in _places(config, name, one, patterns, corpora, ledger, display)
    ]


def search_work(config: SearchCommandConfig) -> Workload:
    """What a search will ask of the memory."""
    parts = (config.fitness, config.validation, config.test)
    texts = [(part.windows, part.length) for part in parts]
    scopes = {config.scope, *config.search.scopes}
    scopes |= {seed.scope for seed in config.search.known_metrics()}
    joint = bool(scopes & {"block", "model"})
    return workload(
        texts,
        config.calibration,
        {"G", "X"} | _terminals(config),
        score_memory=int(config.fitness.score_memory * 1e9) if joint else 0,
        update=config.fitness.update != "none",
    )


def evaluator(places: Sequence[Place]) -> FitnessWorker | JointWorker:
    """Return the one worker, or the mean of several."""
    workers = [place.worker for place in places]
    return workers[0] if len(workers) == 1 else JointWorker(workers)


def _places(
    config: SearchCommandConfig,
    name: str,
    bench: Workbench,
    patterns: Sequence[SparsityPattern],
    corpora: Mapping[str, Corpus],
    ledger: Ledger | None,
    display: Display,
) -> list[Place]:
    fitness, validation, test = config.fitness, config.validation, config.test
    tests = {
        domain: Workbench(bench.model, bench.tokenizer, corpora[domain], bench.cache).windows(
            "test", test.length, test.windows, "test.length"
        )
        for domain in dict.fromkeys((config.corpus.name, *_tested(config)))
    }

    def mixed(split: str, part: FitnessConfig | ValidationConfig) -> Tensor:
        names = _texts_of(config, part)
        texts = [corpora[name].tokens(split, bench.tokenizer) for name in names]
        setting = "fitness.length" if split == "search" else "validation.length"
        with naming_split(" and ".join(names), split):
            return mixed_windows(texts, part.length, part.windows, setting)

    ids, validation_ids = mixed("search", fitness), mixed("validation", validation)
    texts = {name: corpora[name].fingerprint for name in _texts_of(config, fitness)}
    statistics = calibrated(bench, config.calibration, config.seed, display, _terminals(config))
    key = calibration_key(bench, config.calibration, config.seed)
    own = [file.sha256 for file in load_operators(config.operator_files)]
    calibration = calibration_ids(bench, config.calibration, config.seed)
    update = None
    if fitness.update != "none":
        update = _update(bench, calibration, display, fitness.update == "adaptive")
    joint = len(patterns) > 1 or bool(fitness.models)
    workers: list[FitnessWorker] = []
    for pattern in patterns:
        known = None
        if ledger is not None:
            known = ledger_context(
                ledger, bench, key, ids, str(pattern), own, fitness.update, texts
            )
        dense = workers[0].dense if workers else None
        racing = WHOLE if joint else fitness.racing.for_texts(len(texts))
        workers.append(
            FitnessWorker(
                bench.model,
                statistics,
                ids,
                pattern,
                racing,
                known,
                dense,
                fitness.reuse,
                bench.on_full,
                fitness.score_memory,
                fitness.compile,
                update,
            )
        )
    return [Place(name, worker, calibration, validation_ids, tests, texts) for worker in workers]


def _update(bench: Workbench, calibration: Tensor, display: Display, adaptive: bool) -> ObsUpdate:
    sequences, length = calibration.shape
    display.say(f"measuring Hessians on {sequences} sequences of {length} tokens")
    with display.steps("inverting") as progress:
        update = ObsUpdate.measure(bench.model, calibration, progress, adaptive)
    display.say(f"weight update: the factors of all Hessians take {update.size / 1e6:,.1f} MB")
    return update


def _texts_of(config: SearchCommandConfig, part: FitnessConfig | ValidationConfig) -> list[str]:
    """The corpora whose windows take turns, the search's own first."""
    return list(dict.fromkeys((config.corpus.name, *part.domains)))


def _tested(config: SearchCommandConfig) -> Sequence[str]:
    if config.test.domains is not None:
        return config.test.domains
    return _PAIR if config.corpus.name in _PAIR else ()


def _terminals(config: SearchCommandConfig) -> set[str]:
    """The terminals that metrics of this search and of its final table may read."""
    names = {terminal.name for terminal in terminal_set(config.terminals)}
    seeds = (seed.metric.terminals for seed in config.search.known_metrics())
    return names.union(*seeds, *(resolve_method(name).reads for name in config.test.baselines))
