"""``pruner-zero compare``: methods against sparsities, one resumable cell at a time."""

from __future__ import annotations

import csv
import io
import statistics as numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pruner_zero.commands.display import Display
from pruner_zero.commands.kept import Kept
from pruner_zero.commands.markdown import markdown_table
from pruner_zero.commands.methods import missing_update, resolve_method_argument
from pruner_zero.commands.schema import CompareCommandConfig
from pruner_zero.commands.setup import (
    Workbench,
    calibrated,
    calibration_ids,
    measured_perplexity,
    open_workbench,
)
from pruner_zero.commands.workload import workload
from pruner_zero.data.windows import check_seed
from pruner_zero.errors import UserError, check_distinct, suggest
from pruner_zero.files import write_atomic, write_json
from pruner_zero.metric import load_operators
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.loading import resolve_device
from pruner_zero.model.masks import InvalidScores
from pruner_zero.model.methods import Method, resolve_pattern
from pruner_zero.model.perplexity import check_dense
from pruner_zero.model.placement import check_memory
from pruner_zero.model.prune import UPDATES, check_options, prune
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.sparsity import parse_sparsity
from pruner_zero.model.statistics import MEASURED_TERMINALS
from pruner_zero.provenance import provenance

HELP = """\
pruner-zero compare: one table of pruning methods against sparsities

Each method prunes the model at each sparsity for each calibration seed; the perplexity on the test
split fills the table. Finished cells are kept: the same command with output=FOLDER goes on.

usage: pruner-zero compare [KEY=VALUE ...]

  methods=[dense,magnitude,wanda,gblm,ria,sparsegpt,pruner-zero]
                        names, formulas ('mul(W,G)'), tree files (best.json) or run folders;
                        NAME+obs adds SparseGPT's weight update to any of them, NAME+adaptive
                        has the metric choose while the weights are updated
  sparsity=[0.5,0.6,4:8,2:4]    share of weights to prune, or N of every M consecutive inputs
  seeds=[0,1,2]                 of the calibration sequences: mean and standard deviation
  operator_files=[mine.py]      operators of your own, for formulas that use them
  mode=one_shot|sequential      statistics of the dense model, or block by block
  scope=row|layer|block|model   default: each method's own (magnitude: layer, metrics: row)
  allocation=uniform|owl
  model=…  corpus=…  calibration=quick|full     as for search
  windows=8  length=512         of the test split, spread evenly; windows=null takes all of it
  output=FOLDER  device=auto|cpu|cuda
  memory=auto|resident|blockwise    the whole model on the device, or one decoder block at a time
"""

_FREE = ("methods", "sparsity", "seeds", "output", "device", "memory", "cache", "operator_files")
Done = dict[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One number of the table; ``sparsity`` and ``seed`` are None where they do not matter."""

    method: str
    sparsity: str | None
    seed: int | None

    @property
    def key(self) -> tuple[str, str | None, int | None]:
        """What identifies the cell in the log."""
        return self.method, self.sparsity, self.seed


def compare(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """Fill the table and write it.

    Args:
        cfg: of the compare command's schema.
        output: folder of ``cells.jsonl``, ``table.md``, ``table.csv`` and ``provenance.json``.
        display: where to print.

    Raises:
        UserError: for anything that the user can mend.
    """
    config = cast(CompareCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    operators = [file.sha256 for file in load_operators(config.operator_files)]
    cells = list(_cells(config))
    kept = Kept(output, "cells.jsonl")
    records = kept.open(cfg, _FREE, operators)
    _check_metrics(records, output)
    done: Done = {(r["method"], r["sparsity"], r["seed"]): r for r in records}
    missing = [cell for cell in cells if cell.key not in done]
    for name, given in map(_split, config.methods):
        if update := missing_update(name, given):
            display.say(
                f"warning: {name} was judged with weight update {update}: "
                f"{name}+{update} measures it so"
            )
    display.say(f"{len(cells)} cells, {len(cells) - len(missing)} known, in {output}")
    if missing:
        try:
            _measure(config, missing, done, kept, display)
        except KeyboardInterrupt:
            display.say(f"stopped; {kept.how_to_go_on()}")
            raise SystemExit(130) from None
    _present(config, cells, done, output, display)


def _cells(config: CompareCommandConfig) -> Iterator[Cell]:
    """Every cell of the table, the cheap and fixed ones first; all arguments are checked here."""
    if not config.methods or not config.sparsity or not config.seeds:
        raise UserError("compare needs at least one method, one sparsity and one seed")
    if (config.windows is not None and config.windows < 1) or config.length < 2:
        raise UserError("windows must be at least 1 and length at least 2")
    check_memory(config.memory)
    resolve_device(config.device)
    seeds: list[int | None] = list(config.seeds)
    for given in config.seeds:
        check_seed(given)
    check_distinct("methods", config.methods)
    check_distinct("sparsity", [parse_sparsity(sparsity) for sparsity in config.sparsity])
    check_distinct("seeds", config.seeds)
    for method in config.methods:
        if method == "dense":
            yield Cell("dense", None, None)
            continue
        name, update = _split(method)
        chosen = resolve_method_argument(name)
        # Neither scores nor shares of the blocks depend on calibration text.
        fixed = (
            update == "none"
            and config.allocation != "owl"
            and chosen.metric is not None
            and not chosen.reads & MEASURED_TERMINALS
        )
        for sparsity in config.sparsity:
            mode, scope = _how(config, chosen, sparsity)
            pattern = resolve_pattern(chosen, sparsity, scope)
            try:
                check_options(chosen, pattern, mode, update, config.allocation)
            except UserError as error:
                raise UserError(f"method '{method}' at {sparsity}: {error}") from None
            for seed in [None] if fixed else seeds:
                yield Cell(method, sparsity, seed)


def _check_metrics(records: Sequence[dict[str, Any]], output: Path) -> None:
    """Refuse cells of a file or run folder whose metric is another one by now.

    Raises:
        UserError: names it.
    """
    for record in records:
        if (before := record.get("metric")) and record["sparsity"]:
            now = resolve_method_argument(_split(record["method"])[0]).name
            if now != before:
                raise UserError(
                    f"{record['method']} was {before} when {output} was begun and is {now} now: "
                    "give another output"
                )


def _how(config: CompareCommandConfig, method: Method, sparsity: str) -> tuple[str, str | None]:
    """Mode and scope of a method: SparseGPT and N:M have their own."""
    own_scope = ":" in sparsity or method.metric is None
    return method.flow(config.mode), None if own_scope else config.scope


def _split(method: str) -> tuple[str, str]:
    """Split ``wanda+obs`` into the method and its weight update."""
    name, plus, update = method.partition("+")
    if plus and update not in UPDATES[1:]:
        raise UserError(f"method '{method}': after the + {suggest(update, UPDATES[1:])}")
    return name, update if plus else "none"


def _measure(
    config: CompareCommandConfig,
    missing: list[Cell],
    done: Done,
    kept: Kept,
    display: Display,
) -> None:
    reads = {name for cell in missing if cell.sparsity for name in _reads(config, cell)}
    bench = open_workbench(
        config,
        display,
        workload([(config.windows, config.length)], config.calibration, reads, host_copy=True),
    )
    kept.check_text(bench.corpus.fingerprint)
    layers = prunable_layers(bench.model)
    for sparsity in config.sparsity:
        parse_sparsity(sparsity).check(layers)
    test_ids = bench.windows("test", config.length, config.windows)
    dense_value = bench.with_room(lambda: measured_perplexity(bench.model, test_ids, display))
    if warning := check_dense(dense_value):
        display.say(f"warning: {warning}")
    dense = DenseWeights(layers)
    # By seed, so that a seed's statistics are loaded once.
    for number, cell in enumerate(sorted(missing, key=lambda c: -1 if c.seed is None else c.seed)):

        def fill(cell: Cell = cell) -> dict[str, Any]:
            with dense.lent():
                return _fill(config, bench, cell, test_ids, dense_value, display)

        record = bench.with_room(fill, beside=partial(dense.to, "cpu"))
        done[cell.key] = record
        kept.add(record)
        shown = record["reason"] or f"perplexity {record['perplexity']:.2f}"
        at = f" at {cell.sparsity}" if cell.sparsity else ""
        seed = "" if cell.seed is None else f", seed {cell.seed}"
        display.say(f"{number + 1}/{len(missing)} {cell.method}{at}{seed}: {shown}")
    write_json(kept.folder / "provenance.json", provenance(bench.device))


def _reads(config: CompareCommandConfig, cell: Cell) -> frozenset[str]:
    """The measured terminals that a cell's method takes from the dense model."""
    method = resolve_method_argument(_split(cell.method)[0])
    return method.reads_of_dense(config.mode) & MEASURED_TERMINALS


def _fill(
    config: CompareCommandConfig,
    bench: Workbench,
    cell: Cell,
    test_ids: Tensor,
    dense_value: float,
    display: Display,
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "method": cell.method,
        "sparsity": cell.sparsity,
        "seed": cell.seed,
        "perplexity": None,
        "reason": None,
        "corpus_sha256": bench.corpus.fingerprint,
    }
    if cell.sparsity is None:
        return {**record, "perplexity": dense_value}
    name, update = _split(cell.method)
    method = resolve_method_argument(name)
    record["metric"] = method.name
    mode, scope = _how(config, method, cell.sparsity)
    seed = cell.seed if cell.seed is not None else config.seeds[0]
    dense = _reads(config, cell)
    statistics = None
    if dense or config.allocation == "owl":
        statistics = calibrated(bench, config.calibration, seed, display, dense)
    try:
        report = prune(
            bench.model,
            method,
            cell.sparsity,
            calibration=calibration_ids(bench, config.calibration, seed),
            statistics=statistics,
            mode=cast(Any, mode),
            update=cast(Any, update),
            scope=scope,
            allocation=cast(Any, config.allocation),
        )
    except InvalidScores as failure:
        return {**record, "reason": str(failure)}
    value = measured_perplexity(bench.model, test_ids, display)
    finite = value < float("inf")
    return {
        **record,
        "perplexity": value if finite else None,
        "reason": None if finite else "loss is not finite",
        "scope": report.scope,
        "mode": report.mode,
        "update": report.update,
        "measured_sparsity": report.sparsity,
        "prune_seconds": round(report.seconds, 2),
    }


def _present(
    config: CompareCommandConfig,
    cells: list[Cell],
    done: Done,
    output: Path,
    display: Display,
) -> None:
    def shown(method: str, sparsity: str) -> str:
        mine = [c for c in cells if c.method == method and c.sparsity in (sparsity, None)]
        values = [done[c.key]["perplexity"] for c in mine]
        if any(value is None for value in values):
            return "failed"
        mean = numbers.fmean(values)
        return f"{mean:.2f} ± {numbers.stdev(values):.2f}" if len(values) > 1 else f"{mean:.2f}"

    header = ["method", *config.sparsity]
    rows = [[method, *(shown(method, s) for s in config.sparsity)] for method in config.methods]
    seeds = f"{len(config.seeds)} calibration seed" + ("s" if len(config.seeds) > 1 else "")
    windows = "all" if config.windows is None else str(config.windows)
    title = (
        f"Perplexity on {config.corpus.name}, test split, {windows} windows of {config.length} "
        f"tokens; {seeds}, {config.mode}"
    )
    write_atomic(output / "table.md", f"{title}\n\n{markdown_table(header, rows)}\n")
    text = io.StringIO()
    columns = ["method", "sparsity", "seed", "perplexity", "reason", "scope", "mode", "update",
               "measured_sparsity", "prune_seconds"]  # fmt: skip
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(done[cell.key] for cell in cells)
    write_atomic(output / "table.csv", text.getvalue())
    display.table(title, header, rows)
    display.say(f"tables  {output / 'table.md'}, {output / 'table.csv'}")
