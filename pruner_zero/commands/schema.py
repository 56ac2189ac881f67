"""The schema of the search command's configuration: Hydra checks keys and types against it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore

from pruner_zero.search.config import SearchConfig
from pruner_zero.search.racing import RacingConfig
from pruner_zero.search.workers.config import WorkersConfig
from pruner_zero.tracking import TrackerConfig


@dataclass
class ModelConfig:
    """Which model.

    Attributes:
        name: a built-in model or a hub id.
        path: a local folder, a ``.gguf`` file or a hub id instead.
        dtype: ``float32``, ``bfloat16`` or ``float16``; null is bfloat16 where the device computes
            in it, else float32.
    """

    name: str = "smollm2-135m"
    path: str | None = None
    dtype: str | None = None


@dataclass
class CorpusConfig:
    """Which text.

    Attributes:
        name: of a corpus.
        files: text files or folders of your own, for ``corpus=files``.
    """

    name: str = "wikipedia"
    files: list[str] = field(default_factory=list)


@dataclass
class CalibrationConfig:
    """The sequences on which G, X and the like are measured, from the calibration split.

    Attributes:
        sequences: how many.
        length: tokens of each.
        gradient_norm: over sequences, ``l2`` or ``l1``.
        gradient_scale: factor of every gradient before that, which keeps it away from zero.
        checkpointing: recompute activations in the backward pass instead of keeping them; null
            does so where they do not fit. The numbers are the same.
    """

    sequences: int = 16
    length: int = 512
    gradient_norm: str = "l2"
    gradient_scale: float = 100.0
    checkpointing: bool | None = None


@dataclass
class FitnessConfig:
    """The windows of the search split on which every candidate is evaluated.

    Attributes:
        windows: how many.
        length: tokens of each.
        racing: when an evaluation may stop early.
        fingerprint: let a cheap look at some rows of some layers put offspring last that look like
            an evaluated one.
        reuse: false charges known masks like new ones.
        update: ``none``; ``obs``: SparseGPT's update of the remaining weights follows a
            candidate's masks before its loss is measured; or ``adaptive``: the candidate chooses
            while that update goes on, as SparseGPT does. What is found is to be used with it.
        sparsity: several, whose perplexities' geometric mean is the fitness; racing is off then.
        models: more models beside the search's own, whose perplexities count likewise.
        domains: corpora beside the search's own, whose search splits take turns with its windows.
        score_memory: GB for scores that compete over a block or the model.
        compile: run the decoder through torch.compile.
    """

    windows: int = 6
    length: int = 256
    racing: RacingConfig = field(default_factory=RacingConfig)
    fingerprint: bool = True
    reuse: bool = True
    score_memory: float = 1.0
    compile: bool = False
    update: str = "none"
    sparsity: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)


@dataclass
class ValidationConfig:
    """Windows of the validation split, which chooses among the best candidates of a search.

    Attributes:
        windows: how many.
        length: tokens of each.
        candidates: how many of the hall of fame are measured.
        domains: corpora beside the search's own, whose validation splits take turns with its
            windows.
    """

    windows: int = 4
    length: int = 512
    candidates: int = 5
    domains: list[str] = field(default_factory=list)


@dataclass
class TestConfig:
    """The final table, on windows of the test split.

    Attributes:
        windows: how many; null for all of it.
        length: tokens of each.
        baselines: known methods beside the best of the search.
        domains: corpora beside the search's own whose test split is measured too; null takes the
            other one of wikipedia and news, when the search is on one of these.
    """

    windows: int | None = 4
    length: int = 512
    baselines: list[str] = field(
        default_factory=lambda: ["magnitude", "wanda", "pruner-zero", "sparsegpt"]
    )
    domains: list[str] | None = None


@dataclass
class WorkbenchConfig:
    """A model, a text and where they are worked on; the base of the commands that need them."""

    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    operator_files: list[str] = field(default_factory=list)
    device: str = "auto"
    memory: str = "auto"
    cache: str | None = None


@dataclass
class SearchCommandConfig(WorkbenchConfig):
    """Everything that ``pruner-zero search`` can be told.

    ``mode`` is how validation and the final table prune: ``one_shot``, as the search does, or
    ``sequential``, block by block, as SparseGPT always does.
    """

    fitness: FitnessConfig = field(default_factory=FitnessConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    test: TestConfig = field(default_factory=TestConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    sparsity: str = "0.5"
    scope: str | None = None
    operators: str = "paper"
    terminals: str = "paper"
    simplify: str = "rank"
    mode: str = "one_shot"
    seed: int = 0
    resume: str | None = None
    ledger: str | None = None


@dataclass
class CompareCommandConfig(WorkbenchConfig):
    """Everything that ``pruner-zero compare`` can be told."""

    methods: list[str] = field(default_factory=list)
    sparsity: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    mode: str = "one_shot"
    scope: str | None = None
    allocation: str = "uniform"
    windows: int | None = 8
    length: int = 512
    output: str = "???"


@dataclass
class PruningConfig(WorkbenchConfig):
    """One pruning of one model; the base of the commands that do one."""

    metric: str | None = None
    sparsity: str = "0.5"
    mode: str = "sequential"
    update: str = "none"
    scope: str | None = None
    allocation: str = "uniform"
    seed: int = 0
    output: str = "???"


@dataclass
class EvaluateCommandConfig(PruningConfig):
    """Everything that ``pruner-zero evaluate`` can be told."""

    tasks: list[str] = field(default_factory=list)
    task_path: str | None = None
    limit: int | None = None
    num_fewshot: int | None = None
    batch_size: int = 8


@dataclass
class PruneCommandConfig(PruningConfig):
    """Everything that ``pruner-zero prune`` can be told.

    ``accelerate_2of4`` converts a 2:4 model on CUDA and measures its speed before and after.
    """

    windows: int | None = 8
    length: int = 512
    accelerate_2of4: bool = False


@dataclass
class PlanCommandConfig(WorkbenchConfig):
    """Everything that ``pruner-zero plan`` can be told."""

    tolerance: str = "5%"
    metrics: list[str] = field(default_factory=list)
    patterns: list[str] = field(default_factory=list)
    resolution: float = 0.01
    highest: float = 0.9
    seed: int = 0
    windows: int | None = 16
    length: int = 512
    output: str = "???"


@dataclass
class BenchCommandConfig:
    """Everything that ``pruner-zero bench`` can be told.

    ``windows`` windows of ``length`` tokens are evaluated. The public flow is timed on
    ``public_sequences`` of the ``calibration.sequences`` and ``public_windows`` of the windows and
    scaled up; null times all of them.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    metrics: list[str] = field(default_factory=list)
    sparsity: list[str] = field(default_factory=list)
    windows: int = 4
    length: int = 2048
    repeats: int = 3
    score_memory: float = 1.0
    compile: bool = False
    public: bool = True
    public_metric: str = "pruner-zero"
    public_sequences: int | None = 2
    public_windows: int | None = 1
    threads: int | None = None
    seed: int = 0
    device: str = "auto"
    cache: str | None = None
    output: str = "???"


@dataclass
class LedgerCommandConfig:
    """Everything that ``pruner-zero ledger`` can be told."""

    top: int = 5
    context: str | None = None
    export: str | None = None
    ledger: str | None = None
    cache: str | None = None


@dataclass
class ShowCommandConfig:
    """Everything that ``pruner-zero show`` can be told."""

    metric: str = "???"
    other: str | None = None
    operator_files: list[str] = field(default_factory=list)


@dataclass
class ReportCommandConfig:
    """Everything that ``pruner-zero report`` can be told."""

    runs: list[str] = field(default_factory=list)
    operator_files: list[str] = field(default_factory=list)
    output: str | None = None
    title: str | None = None


def register_schemas() -> None:
    """Make the schemas known to Hydra under the names that ``conf/*.yaml`` builds on."""
    ConfigStore.instance().store(name="bench_schema", node=BenchCommandConfig)
    ConfigStore.instance().store(name="compare_schema", node=CompareCommandConfig)
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateCommandConfig)
    ConfigStore.instance().store(name="ledger_schema", node=LedgerCommandConfig)
    ConfigStore.instance().store(name="plan_schema", node=PlanCommandConfig)
    ConfigStore.instance().store(name="prune_schema", node=PruneCommandConfig)
    ConfigStore.instance().store(name="report_schema", node=ReportCommandConfig)
    ConfigStore.instance().store(name="show_schema", node=ShowCommandConfig)
    ConfigStore.instance().store(name="search_schema", node=SearchCommandConfig)
