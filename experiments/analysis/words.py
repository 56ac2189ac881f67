"""Which words go with good fitness: operators, terminals and scopes of everything evaluated.

    python experiments/analysis/words.py --out experiments/analysis RUN_FOLDER_OR_LEDGER_EXPORT ...

Takes run folders (``evaluations.jsonl``) or exports of ``pruner-zero ledger export=FILE.jsonl``.
Every distinct pruned model counts once. A word's lift is its share among the best tenth over its
share among all: above 1 it goes with good metrics, below 1 with bad ones.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from pruner_zero.metric import OPERATORS, TERMINALS, Metric


def records(path: Path) -> Iterator[dict]:
    """Evaluations of a run folder or of an export, with a metric, a scope and a loss per token."""
    file = path / "evaluations.jsonl" if path.is_dir() else path
    for line in file.open():
        record = json.loads(line)
        losses = record["losses"]
        if not record["digest"] or not losses or None in losses:
            continue
        formula = record.get("simplified") or record["expression"]
        scope = record["scope"] or "row"
        # Stopped evaluations count with the mean of the windows that they saw.
        yield {"digest": record["digest"], "metric": Metric.parse(formula), "scope": scope,
               "loss": sum(losses) / len(losses)}  # fmt: skip


def words(record: dict) -> set[str]:
    """The words of a formula, its scope among them."""
    found = {node.label for node in record["metric"].expression.nodes()}
    return {w for w in found if w in OPERATORS or w in TERMINALS} | {f"@{record['scope']}"}


def main() -> None:
    """Write ``words.md`` and ``words.svg``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--best", type=float, default=0.1, help="share that counts as good")
    parser.add_argument("--least", type=int, default=5, help="metrics that must hold a word")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    unique: dict[str, dict] = {}
    for source in options.sources:
        for record in records(source):
            unique.setdefault(record["digest"], record)
    ranked = sorted(unique.values(), key=lambda r: r["loss"])
    good = ranked[: max(1, math.ceil(options.best * len(ranked)))]
    rows = []
    for word in sorted(set().union(*(words(r) for r in ranked))):
        holders = [r for r in ranked if word in words(r)]
        if len(holders) < options.least:
            continue
        share = len(holders) / len(ranked)
        lift = sum(word in words(r) for r in good) / len(good) / share
        others = [r["loss"] for r in ranked if word not in words(r)]
        shift = statistics.median(r["loss"] for r in holders) - statistics.median(others or [0.0])
        rows.append((word, len(holders), lift, shift))
    rows.sort(key=lambda row: -row[2])
    lines = [
        f"{len(ranked)} distinct pruned models; good: the best {len(good)}.\n",
        "| word | metrics | lift | median loss against the others, nats per window |",
        "| --- | --- | --- | --- |",
        *(f"| `{w}` | {n} | {lift:.2f} | {shift:+.1f} |" for w, n, lift, shift in rows),
    ]
    text = "\n".join(lines) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "words.md").write_text(text)
    figure, axes = plt.subplots(figsize=(7, 0.22 * len(rows) + 1))
    axes.barh([row[0] for row in rows][::-1], [row[2] for row in rows][::-1])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set(xlabel="lift among the best tenth")
    figure.tight_layout()
    figure.savefig(options.out / "words.svg")
    print(text)


if __name__ == "__main__":
    main()
