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
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from pruner_zero.metric import Metric
from pruner_zero.report import word_statistics, words_of


def records(path: Path) -> Iterator[tuple[str, frozenset[str], float]]:
    """Digest, words and loss per window of every evaluation of a run folder or of an export."""
    file = path / "evaluations.jsonl" if path.is_dir() else path
    for line in file.open():
        record = json.loads(line)
        losses = record["losses"]
        if not record["digest"] or not losses or None in losses:
            continue
        metric = Metric.parse(record.get("simplified") or record["expression"])
        # Stopped evaluations count with the mean of the windows that they saw.
        words = words_of(metric, record["scope"] or "row")
        yield record["digest"], words, sum(losses) / len(losses)


def main() -> None:
    """Write ``words.md`` and ``words.svg``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--best", type=float, default=0.1, help="share that counts as good")
    parser.add_argument("--least", type=int, default=5, help="metrics that must hold a word")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    unique: dict[str, tuple[frozenset[str], float]] = {}
    for source in options.sources:
        for digest, words, loss in records(source):
            unique.setdefault(digest, (words, loss))
    rows = word_statistics(list(unique.values()), options.best, options.least)
    good = max(1, math.ceil(options.best * len(unique)))
    lines = [
        f"{len(unique)} distinct pruned models; good: the best {good}.\n",
        "| word | metrics | lift | median loss against the others, nats per window |",
        "| --- | --- | --- | --- |",
        *(f"| `{w.name}` | {w.metrics} | {w.lift:.2f} | {w.shift:+.1f} |" for w in rows),
    ]
    text = "\n".join(lines) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "words.md").write_text(text)
    figure, axes = plt.subplots(figsize=(7, 0.22 * len(rows) + 1))
    axes.barh([row.name for row in rows][::-1], [row.lift for row in rows][::-1])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set(xlabel="lift among the best tenth")
    figure.tight_layout()
    figure.savefig(options.out / "words.svg")
    print(text)


if __name__ == "__main__":
    main()
