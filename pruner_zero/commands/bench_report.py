"""The answer of a benchmark: a table of stages, the public flow beside it, and both as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pruner_zero.bench.candidate import STAGES
from pruner_zero.commands.display import Display
from pruner_zero.commands.markdown import markdown_table
from pruner_zero.files import write_atomic, write_json

_SHOWN = ("metric", "sparsity", "score", "mask", "apply", "forward", "total", "x dense", "tokens/s")


def present_bench(results: dict[str, Any], output: Path, display: Display) -> None:
    """Write ``bench.json`` and ``bench.md``, and print the answer.

    Args:
        results: as ``bench.json`` holds it.
        output: the folder.
        display: where to print.
    """
    facts = results["provenance"]
    tokens = results["windows"] * results["length"]
    title = (
        f"Seconds per candidate: {results['model']} in {results['dtype']}, {results['windows']} x "
        f"{results['length']} = {tokens:,} tokens, {facts['device']}"
    )
    header = ["metric", "sparsity", *STAGES, "total", "x dense", "tokens/s", "matmul", "memory"]
    rows = [_dense(results["dense"]), *(_row(row, results) for row in results["candidates"])]
    words = _words(results)
    write_atomic(
        output / "bench.md", "\n\n".join([title, markdown_table(header, rows), *words]) + "\n"
    )
    write_json(output / "bench.json", results)
    # A screen has 80 columns; the file has every stage.
    shown = [header.index(name) for name in _SHOWN]
    display.table(title, list(_SHOWN), [[row[index] for index in shown] for row in rows])
    for word in words:
        display.say(word)
    display.say(f"files  {output / 'bench.md'}, {output / 'bench.json'}")


def _dense(dense: dict[str, Any]) -> list[str]:
    stages = [_seconds(dense["seconds"]) if stage == "forward" else "" for stage in STAGES]
    rest = [_seconds(dense["seconds"]), "1.00", f"{dense['tokens_per_second']:,.0f}"]
    return ["dense forward", "", *stages, *rest, f"{dense['matmul_share']:.0%}", ""]


def _row(row: dict[str, Any], results: dict[str, Any]) -> list[str]:
    name = row["metric"] if "@" in row["metric"] else f"{row['metric']}@{row['scope']}"
    return [
        name,
        row["sparsity"],
        *(_seconds(row["stages"][stage]) for stage in STAGES),
        _seconds(row["seconds"]),
        f"{row['seconds'] / results['dense']['seconds']:.2f}",
        f"{row['tokens_per_second']:,.0f}",
        f"{row['matmul_share']:.0%}",
        f"{row['bandwidth_share']:.0%}",
    ]


def _words(results: dict[str, Any]) -> list[str]:
    peaks, facts = results["peaks"], results["provenance"]
    words = [
        f"matmul: share of the measured {peaks['matmul'] / 1e12:.2f} TFLOP/s of matrix products, "
        "over the whole time; memory: share of the measured "
        f"{peaks['bandwidth'] / 1e9:.0f} GB/s, of score, mask and apply (bytes that must move).",
        f"Peak memory {results['peak_memory'] / 1e9:.2f} GB; medians of {results['repeats']}; "
        f"threads {facts['threads']}, torch {facts['torch']}, "
        f"transformers {facts['transformers']}, compile {str(results['compile']).lower()}.",
    ]
    if public := results.get("public"):
        words.append(_comparison(public))
    return words


def _comparison(public: dict[str, Any]) -> str:
    stages = ", ".join(f"{name} {value:.0f}" for name, value in public["stages"].items())
    text = (
        f"Public flow with {public['sequences']} x {public['length']} calibration tokens: "
        f"{public['seconds']:,.0f} s per candidate ({stages}), {public['ratio']:.0f} x "
        f"{public['metric']} at {public['sparsity']} above."
    )
    stages = ", ".join(f"{name} {value:.1f}" for name, value in public["timed_stages"].items())
    return (
        f"{text} Timed: {public['timed_sequences']} sequences and {public['timed_windows']} "
        f"windows ({stages} s); calibrate and forward are scaled up linearly."
    )


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"
