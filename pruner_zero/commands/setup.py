"""What several commands do first: model, corpus, windows, statistics from their settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pruner_zero.assets import cache_directory
from pruner_zero.commands.display import Display
from pruner_zero.commands.schema import CalibrationConfig, WorkbenchConfig
from pruner_zero.data.corpus import Corpus, load_corpus
from pruner_zero.data.windows import calibration_windows, consecutive_windows, spread_windows
from pruner_zero.errors import UserError
from pruner_zero.metric import TERMINALS
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.loading import dtype_name, fast_dtype, load_model, resolve_device
from pruner_zero.model.memory import Workload
from pruner_zero.model.perplexity import default_batch, perplexity
from pruner_zero.model.placement import check_memory, place, with_room
from pruner_zero.model.statistics import Statistics, measure_statistics
from pruner_zero.model.statistics_cache import cached_statistics, model_fingerprint
from pruner_zero.search.ledger import Ledger, LedgerContext

Result = TypeVar("Result")


@dataclass(frozen=True)
class Workbench:
    """A loaded model, its tokenizer and a corpus, with the cache folder that they came from.

    ``on_full`` announces that the model's blocks move to the host because the device is out of
    memory; None where that may not happen.
    """

    model: nn.Module
    tokenizer: Any
    corpus: Corpus
    cache: Path
    on_full: Callable[[], None] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def windows(
        self, split: str, length: int, count: int | None, setting: str = "length"
    ) -> Tensor:
        """``count`` windows spread over a split, or all of it for None, [N, length].

        Args:
            split: its name.
            length: tokens per window.
            count: number of windows.
            setting: what sets the length, for the message about too short a text.
        """
        tokens = self.corpus.tokens(split, self.tokenizer)
        with naming_split(self.corpus.name, split):
            if count is None:
                return consecutive_windows(tokens, length, None, setting)
            return spread_windows(tokens, length, count, setting)

    def with_room(
        self, action: Callable[[], Result], beside: Callable[[], None] = lambda: None
    ) -> Result:
        """Do something that can be repeated; when the device is full, with blocks on the host.

        Args:
            action: what is done.
            beside: what else makes room on the device.
        """

        def make_room() -> None:
            if self.on_full:
                self.on_full()
            place(self.model, self.device, "blockwise")
            beside()

        movable = self.on_full is not None and hosted_blocks(self.model) is None
        return with_room(action, make_room if movable else None)


@contextmanager
def naming_split(corpus: str, split: str) -> Iterator[None]:
    """Say, in the message about too short a text, which part of which corpus it is.

    Args:
        corpus: its name.
        split: whose tokens the windows inside the ``with`` block are cut from.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{corpus}, {split} split: {error}") from None


def open_workbench(
    config: WorkbenchConfig, display: Display, work: Workload | None = None
) -> Workbench:
    """Load text first (its mistakes are cheap to find), then the model.

    Args:
        config: of a command.
        display: says what happens.
        work: what will run, for the prediction of the peak memory.
    """
    check_memory(config.memory)
    if config.model.name == "hub" and not config.model.path:
        raise UserError("model=hub needs model.path=ORG/NAME, a local folder or a .gguf file")
    cache = Path(config.cache) if config.cache else cache_directory()
    text = load_corpus(config.corpus.name, config.corpus.files, cache, display.say)
    where = resolve_device(config.device)
    network, tokenizer = load_model(
        config.model.path or config.model.name,
        config.model.dtype or fast_dtype(where),
        where,
        cache,
        display.say,
        config.memory,
        work and replace(work, batch=default_batch(where, work.window)),
    )
    on_full = None
    if config.memory == "auto":
        on_full = partial(
            display.say, "out of memory on the device: going on with memory=blockwise"
        )
    return Workbench(network, tokenizer, text, cache, on_full)


def calibration_ids(bench: Workbench, config: CalibrationConfig, seed: int) -> Tensor:
    """The calibration sequences of a seed, [sequences, length]."""
    tokens = bench.corpus.tokens("calibration", bench.tokenizer)
    with naming_split(bench.corpus.name, "calibration"):
        return calibration_windows(tokens, config.sequences, config.length, seed)


def calibration_key(bench: Workbench, config: CalibrationConfig, seed: int) -> dict[str, Any]:
    """Everything that the statistics depend on, as plain JSON values.

    Raises:
        UserError: an unknown gradient norm, or a scale that would erase G.
    """
    if not 0 < config.gradient_scale < math.inf:
        raise UserError(f"calibration.gradient_scale={config.gradient_scale} must be above 0")
    if config.gradient_norm not in ("l1", "l2"):
        raise UserError(f"calibration.gradient_norm must be l1 or l2, not {config.gradient_norm}")
    return {
        "model": model_fingerprint(bench.model),
        "corpus": bench.corpus.fingerprint,
        "sequences": config.sequences,
        "length": config.length,
        "norm": config.gradient_norm,
        "scale": config.gradient_scale,
        "seed": seed,
    }


def calibrated(
    bench: Workbench,
    config: CalibrationConfig,
    seed: int,
    display: Display,
    terminals: Collection[str] = (),
) -> Statistics:
    """Measure G, X and further terminals on the calibration split, or read them from the cache."""
    key = calibration_key(bench, config, seed)
    ids = calibration_ids(bench, config, seed)
    shape = f"{config.sequences} sequences of {config.length} tokens"

    def measure(missing: frozenset[str]) -> Statistics:
        titles = [terminal.title for name, terminal in TERMINALS.items() if name in missing]
        display.say(f"measuring {', '.join(titles)} on {shape}")
        with display.steps("calibrating") as progress:
            return measure_statistics(
                bench.model,
                ids,
                missing,
                norm="l1" if config.gradient_norm == "l1" else "l2",
                scale=config.gradient_scale,
                progress=progress,
                checkpointing=config.checkpointing,
            )

    # G of a model that is larger than its device is measured for those alone that read it.
    usual = set() if hosted_blocks(bench.model) else {"G", "X"}
    return cached_statistics(
        bench.cache / "statistics",
        key,
        {*usual, *terminals},
        lambda missing: bench.with_room(lambda: measure(missing)),
        display.say,
    )


def measured_perplexity(model: nn.Module, ids: Tensor, display: Display) -> float:
    """Perplexity of a model on windows, [N, length], with a bar."""
    with display.steps("measuring perplexity") as progress:
        return perplexity(model, ids, window=ids.shape[1], progress=progress)


def open_ledger(setting: str | None, cache: Path, display: Display) -> Ledger | None:
    """Open the ledger of evaluations.

    Args:
        setting: a file, ``off``, or None for the cache's own ledger.
        cache: the cache folder.
        display: says when a ledger had to be moved aside.
    """
    if setting and setting.lower() == "off":
        return None
    return Ledger(Path(setting) if setting else cache / "ledger.sqlite", display.say)


def ledger_context(
    ledger: Ledger,
    bench: Workbench,
    statistics_key: Mapping[str, Any],
    ids: Tensor,
    sparsity: str,
    operators: Sequence[str] = (),
    update: str = "none",
    texts: Mapping[str, str] | None = None,
) -> LedgerContext:
    """Return the part of the ledger that losses of this set-up belong to.

    Args:
        ledger: see `open_ledger`.
        bench: model and corpus.
        statistics_key: see `calibration_key`.
        ids: the search windows.
        sparsity: what is pruned, as text.
        operators: SHA-256 of each file of the user's operators: with other operators the same
            formula may be another metric.
        update: what follows the masks, see ``fitness.update``; its Hessians are of the calibration
            text that the statistics' key names.
        texts: corpus name → fingerprint, of those whose windows take turns, in this order; the
            bench's own is one of them, and the only one by default.
    """
    own: dict[str, Any] = {"operators": list(operators)} if operators else {}
    if update != "none":
        own["update"] = update
    if domains := [item for item in (texts or {}).items() if item[0] != bench.corpus.name]:
        own["domains"] = domains  # a list, for their order decides which windows there are
    return ledger.context(
        {
            "model": statistics_key["model"],
            "dtype": dtype_name(bench.model),
            "device": bench.device.type,
            "statistics": dict(statistics_key),
            "sparsity": sparsity,
            "corpus": bench.corpus.name,
            "corpus_sha256": bench.corpus.fingerprint,
            "split": "search",
            "windows": ids.shape[0],
            "length": ids.shape[1],
            **own,
        }
    )
