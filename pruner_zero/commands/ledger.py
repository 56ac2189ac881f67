"""``pruner-zero ledger``: what is known from all runs, listed or exported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pruner_zero.assets import cache_directory
from pruner_zero.commands.display import Display
from pruner_zero.commands.schema import LedgerCommandConfig
from pruner_zero.errors import UserError
from pruner_zero.files import write_atomic
from pruner_zero.model.perplexity import perplexity_of
from pruner_zero.search.ledger import Ledger

HELP = """\
pruner-zero ledger: list or export the evaluations of all runs

Searches keep the loss of every window of every distinct pruned model in one SQLite file, so that a
later run, a sweep or another worker need not compute it again.

usage: pruner-zero ledger [KEY=VALUE ...]

  top=5                 best metrics listed per context (model, statistics, sparsity, text)
  context=ID            only this context
  export=FILE.csv       write every evaluation; .csv or .jsonl (one JSON object per line)
  ledger=FILE           another ledger than the cache's own
"""

_COLUMNS = ("context", "model", "dtype", "device", "sparsity", "update", "corpus", "domains",
            "split", "windows", "length", "windows_done", "perplexity", "expression", "scope",
            "digest", "seconds", "created")  # fmt: skip


def ledger(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """List or export the ledger.

    Args:
        cfg: of the ledger command's schema.
        output: not used.
        display: where to print.

    Raises:
        UserError: no ledger there, an unknown context, or an export of another kind.
    """
    del output
    config = cast(LedgerCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    target = Path(config.export) if config.export else None
    if config.top < 1:
        raise UserError("top must be at least 1")
    if target and target.suffix not in (".csv", ".jsonl"):
        raise UserError(f"export={target}: the name must end in .csv or .jsonl")
    cache = Path(config.cache) if config.cache else cache_directory()
    path = Path(config.ledger) if config.ledger else cache / "ledger.sqlite"
    if not path.exists():
        raise UserError(f"there is no ledger at {path}: a search writes one")
    rows = [_with_perplexity(row) for row in Ledger(path, display.say).rows()]
    if config.context:
        rows = [row for row in rows if row["context"] == config.context]
        if not rows:
            raise UserError(f"the ledger {path} has no context {config.context}")
    if target:
        write_atomic(target, _csv(rows) if target.suffix == ".csv" else _json_lines(rows))
        display.say(f"{len(rows)} evaluations written to {target}")
        return
    display.say(f"{path}: {len(rows)} distinct pruned models")
    for name, group in groupby(rows, key=lambda row: str(row["context"])):
        _list(name, list(group), config.top, display)


def _with_perplexity(row: dict[str, Any]) -> dict[str, Any]:
    """Add the perplexity, None where not all windows were evaluated or it is not finite."""
    tokens = row["windows"] * (row["length"] - 1)
    value = perplexity_of(sum(row["losses"]), tokens) if _is_complete(row) else float("inf")
    return {**row, "perplexity": value if value < float("inf") else None}


def _is_complete(row: dict[str, Any]) -> bool:
    return bool(row["windows_done"] == row["windows"])


def _list(name: str, rows: list[dict[str, Any]], top: int, display: Display) -> None:
    first = rows[0]
    ranked = sorted((r for r in rows if r["perplexity"]), key=lambda r: r["perplexity"])
    measured = first["statistics"]
    calibration = (
        f"calibration {measured['sequences']} x {measured['length']} {measured['norm']} "
        f"seed {measured['seed']}, "
    )
    update = f"update {first['update']}, " if "update" in first else ""
    title = (
        f"context {name}: model {first['model']} {first['dtype']}, sparsity {first['sparsity']}, "
        f"{calibration}{update}{_texts(first)} {first['split']} "
        f"{first['windows']} x {first['length']} tokens; "
        f"{len(rows)} models, {sum(map(_is_complete, rows))} on all windows"
    )
    shown = [[f"{r['perplexity']:.2f}", r["scope"], r["expression"]] for r in ranked[:top]]
    display.table(title, ["perplexity", "scope", "metric"], shown)


def _texts(row: dict[str, Any]) -> str:
    return " and ".join((row["corpus"], *_domains(row)))


def _domains(row: dict[str, Any]) -> list[str]:
    return [name for name, _ in row.get("domains", ())]


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "domains": " ".join(_domains(row))} for row in rows)
    return text.getvalue()


def _json_lines(rows: Iterable[dict[str, Any]]) -> str:
    finite = ({**r, "losses": [v if v < float("inf") else None for v in r["losses"]]} for r in rows)
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in finite)
