"""Small hand-made run folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "model": {"name": "some-model", "path": None},
    "corpus": {"name": "news", "files": []},
    "fitness": {"windows": 2, "length": 51, "sparsity": [], "models": []},
    "search": {"algorithm": "steady_state", "population_size": 2},
    "sparsity": "0.5",
    "simplify": "rank",
    "operators": "paper",
    "terminals": "paper",
    "seed": 0,
}
FULL = 100  # predicted tokens of a full evaluation with these settings


def record(number: int, formula: str, perplexity: float | None, **others: Any) -> dict[str, Any]:
    """A line of the log: evaluated in full, unless told otherwise."""
    failed = perplexity is None
    return {
        "evaluation": number,
        "generation": 0,
        "operation": "random",
        "parents": [],
        "expression": formula,
        "simplified": formula,
        "scope": None,
        "perplexity": perplexity,
        "reason": "NaN scores in layer.0" if failed else None,
        "complete": True,
        "losses": [],
        "tokens": 0 if failed else FULL,
        "cost": 0 if failed else FULL,
        "seconds": 6.0,
        "known_by": None,
        "digest": None if failed else f"masks-{number}",
        "fingerprint": None,
        **others,
    }


# Two random trees, one failure, two offspring, one of them stopped, one repeat.
LOG = (
    record(1, "mul(W, X)", 50.0),
    record(2, "G", 80.0),
    record(3, "sub(X, X)", None),
    record(4, "mul(W, sqrt(X))", 40.0, operation="crossover", parents=[1, 2]),
    record(5, "mul(W, G)", 90.0, operation="crossover+node", parents=[1, 4], complete=False,
           tokens=50, cost=50),
    record(6, "mul(sqrt(X), W)", 40.0, operation="crossover", parents=[4, 4], tokens=0, cost=0,
           known_by="digest", digest="masks-4"),
    record(7, "mul(abs(W), sqrt(X))", 39.0, operation="tune", parents=[4], tokens=0,
           known_by="ledger"),
)  # fmt: skip


def results(test: float = 45.0) -> dict[str, Any]:
    """What an ended search writes."""

    def row(method: str, metric: str | None, sparsity: str, wikipedia: float, news: float | None):
        values = {"wikipedia": wikipedia, "news": news}
        return {"model": "some-model", "method": method, "metric": metric, "sparsity": sparsity,
                "scope": None, "test_perplexity": values}  # fmt: skip

    best = "mul(abs(W), sqrt(X))"
    return {
        "table": [
            row("dense", None, "0", 20.0, 30.0),
            row("magnitude", "W", "0.5", 300.0, None),
            row("best of this search", best, "0.5", test, 66.0),
        ],
        "test": {"split": "test", "corpora": {"wikipedia": [4, 64], "news": [4, 64]}},
        "validation": [
            {"expression": best, "scope": None, "nodes": 5, "search_perplexity": 39.0,
             "validation_perplexity": 41.5},
        ],
        "search": {"candidates": 7, "refused": 3, "waiting": 5, "dense_perplexity": 19.5,
                   "known_by": {"digest": 1, "ledger": 1}, "stopped_early": 1},
        "best": {"expression": best, "scope": None},
        "seed": 0,
        "provenance": {"python": "3.11.0", "torch": "2.13.0"},
        "minutes": 1.5,
    }  # fmt: skip


def write_run(
    path: Path,
    log: Sequence[dict[str, Any]] = LOG,
    ended: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write a run folder as a search does; ``ended`` null is a search that did not end.

    Args:
        path: the folder.
        log: its evaluations.
        ended: what ``results.json`` holds.
        settings: dotted keys with ``__`` for the dot, such as ``search__population_size=4``.
    """
    path.mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG))
    for key, value in settings.items():
        *groups, name = key.split("__")
        place = config
        for group in groups:
            place = place[group]
        place[name] = value
    (path / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    (path / "run.json").write_text(json.dumps({"format": 2, "versions": {"torch": "2.12.0"}}))
    (path / "evaluations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in log))
    complete = [r for r in log if r["perplexity"] is not None and r["complete"]]
    hall = [
        {"expression": r["simplified"], "scope": r["scope"], "search_perplexity": r["perplexity"]}
        for r in sorted(complete, key=lambda r: r["perplexity"])
    ]
    (path / "hall_of_fame.json").write_text(json.dumps(hall))
    if ended is not None:
        (path / "results.json").write_text(json.dumps(ended))
    return path
