"""The model card of a pruned model: what was done to it, and what that is worth."""

from __future__ import annotations

from typing import Any

from pruner_zero.model.prune_report import PruneReport


def model_card(record: dict[str, Any], report: PruneReport, note: str) -> str:
    """Return the README of a pruned model.

    Args:
        record: as ``pruning.json`` holds it.
        report: what pruning did.
        note: what zeros do and do not bring.
    """
    values, test = record["perplexity"], record["test"]
    windows, length = test["windows"]
    calibration = record["pruning"]["calibration"]
    text = (
        f"{calibration['sequences']} sequences of {calibration['length']} tokens of "
        f"{calibration['corpus']}, seed {calibration['seed']}"
        if calibration
        else "none needed"
    )
    rows = [
        ("base model", record["model"]),
        ("metric", f"`{report.method}`"),
        ("sparsity", f"{report.pattern} ({report.sparsity:.2%} of the weights of "
                     f"{len(report.layers)} Linear layers are zero)"),
        ("scope", report.scope),
        ("flow", report.mode),
        ("weight update", report.update),
        ("allocation", report.allocation),
        ("calibration text", text),
    ]  # fmt: skip
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [pruned, pruner-zero]
---

# {record["model"]}, pruned to {report.pattern}

| | |
| --- | --- |
{table}

| perplexity on {test["corpus"]}, {test["split"]} split, {windows} x {length} tokens | |
| --- | --- |
| dense | {values["dense"]:.2f} |
| pruned | {values["pruned"]:.2f} |

Embeddings, norms and the output head are not pruned. {note}

Made by

```bash
{record["command"]}
```

`pruning.json` holds the same with zeros per layer and versions. The licence is the base model's.
"""
