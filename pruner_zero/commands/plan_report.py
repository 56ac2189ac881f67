"""The answer of a plan: a table, a curve, a command, and what the tolerance means in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pruner_zero.commands.display import Display
from pruner_zero.commands.flatten import flatten
from pruner_zero.commands.markdown import markdown_table
from pruner_zero.commands.quoting import as_typed
from pruner_zero.commands.schema import PlanCommandConfig, PruneCommandConfig
from pruner_zero.files import write_atomic, write_json


def present_plan(result: dict[str, Any], cfg: DictConfig, output: Path, display: Display) -> None:
    """Write ``plan.json``, ``plan.md`` and ``plan.svg``, and print the answer.

    Args:
        result: as ``plan.json`` holds it.
        cfg: the command's configuration.
        output: the folder.
        display: where to print.
    """
    output.mkdir(parents=True, exist_ok=True)
    header = ["metric", "pattern", "highest sparsity", "perplexity", "change", "95 % interval"]
    rows = [_cells(row) for row in result["rows"]]
    corpus = result["validation"]["corpus"]
    windows, length = result["validation"]["windows"]
    title = (
        f"Highest sparsity within {100 * result['tolerance']:g} % of the dense perplexity "
        f"{result['dense_perplexity']:.2f} ({corpus}, validation split, "
        f"{windows} x {length} tokens)"
    )
    words = [*_meaning(result), *_advice(result, cfg)]
    text = "\n\n".join([title, markdown_table(header, rows), "![curve](plan.svg)", *words])
    write_atomic(output / "plan.md", text + "\n")
    _plot(result, output / "plan.svg")
    write_json(output / "plan.json", result)
    display.table(title, header, rows)
    for line in words:
        display.say(line)
    display.say(f"files  {output / 'plan.md'}, {output / 'plan.json'}, {output / 'plan.svg'}")


def _cells(row: dict[str, Any]) -> list[str]:
    best = row["best"]
    if best is None:
        nearest = min(row["probes"], key=lambda p: _or_inf(p["change"]))
        missed = f"none (nearest: {nearest['sparsity']})"
        return [row["metric"], row["pattern"], missed, *_numbers(nearest)]
    return [row["metric"], row["pattern"], best["sparsity"], *_numbers(best)]


def _numbers(probe: dict[str, Any]) -> list[str]:
    if probe["perplexity"] is None:
        return ["not finite", "", ""]
    margin = "" if probe["margin"] is None else f"± {percent(probe['margin'])} %"
    return [f"{probe['perplexity']:,.2f}", f"{percent(probe['change'], '+')} %", margin]


def percent(share: float, sign: str = "") -> str:
    """A share in percent, without its unit, in no more digits than mean something.

    Two decimals keep a change of 5.04 % apart from a tolerance of 5 %.

    Args:
        share: 0.05 is 5 %.
        sign: ``+`` writes the sign of a gain, too.
    """
    return f"{100 * share:{sign},.{2 if abs(share) < 1 else 0}f}"


def _meaning(result: dict[str, Any]) -> list[str]:
    dense, tolerance = result["dense_perplexity"], result["tolerance"]
    return [
        f"What this means: the dense model is on average as unsure of the next token as if it had "
        f"to choose among {dense:.1f} equally likely ones; within the tolerance that is up to "
        f"{dense * (1 + tolerance):.1f}. It says nothing about any single answer: try the pruned "
        "model on your task before you rely on it."
    ]


def _advice(result: dict[str, Any], cfg: DictConfig) -> list[str]:
    """The command that prunes to the best point, and how sure that is."""
    tolerance = result["tolerance"]
    found = [row for row in result["rows"] if row["best"]]
    if not found:
        row = min(
            (p | {"metric": r["metric"]} for r in result["rows"] for p in r["probes"]),
            key=lambda p: _or_inf(p["change"]),
        )
        change = "not finite" if row["change"] is None else f"{percent(row['change'], '+')} %"
        words = [
            f"No sparsity that was tried stays within {100 * result['tolerance']:g} %. The nearest "
            f"is {row['metric']} at {row['sparsity']}: {change}."
        ]
        if row["change"] is not None and row["change"] - _or_inf(row["margin"]) <= tolerance:
            words.append(_too_short(result, row["margin"], row["change"] - tolerance))
        return words
    row = max(found, key=lambda r: (r["best"]["ratio"], -r["best"]["change"]))
    best = row["best"]
    settings = _shared(cfg) | {
        "metric": row["metric"],
        "sparsity": best["sparsity"],
        "mode": row["mode"],
        "output": f"pruned_{best['sparsity'].replace(':', 'of')}",
    }
    command = f"pruner-zero prune {as_typed(settings)}"
    if best["margin"] is None or best["margin"] > tolerance / 2:
        short = _too_short(result, best["margin"], tolerance / 2)
        return [f"Prune to that point with:\n  {command}", short]
    return [f"Prune to that point with:\n  {command}"]


def _shared(cfg: DictConfig) -> dict[str, Any]:
    """The settings of a plan that its pruning must share."""
    model = {"model": cfg.model.name}
    if cfg.model.path:
        model = {"model": "hub", "model.path": cfg.model.path}
    shared: dict[str, Any] = {**model, "corpus": cfg.corpus.name}
    now, usual = flatten(cfg), flatten(OmegaConf.structured(PlanCommandConfig(output="")))
    calibration = (key for key in now if key.startswith("calibration."))
    for key in ("corpus.files", "model.dtype", "operator_files", *calibration, "seed", "length"):
        if now[key] != usual[key]:
            shared[key] = now[key]
    # No more windows than of the validation text are sure to be in the test text, twice as long.
    if cfg.windows is not None and cfg.windows < PruneCommandConfig.windows:
        shared["windows"] = cfg.windows
    return shared


def _too_short(result: dict[str, Any], margin: float | None, wanted_margin: float) -> str:
    """How much text a stable answer needs: the interval narrows with the root of the tokens."""
    validation, tolerance = result["validation"], result["tolerance"]
    windows, length = validation["windows"]
    if margin is None:
        spread, wanted = "cannot be told from one window", 8 * windows
        more = f"take windows={wanted} at least"
    else:
        wanted = math.ceil(windows * (margin / wanted_margin) ** 2)
        spread = f"is ± {percent(margin)} %"
        more = f"take about {wanted * length:,} tokens (windows={wanted})"
    there = validation["tokens"]
    if wanted * length > there:
        more += f", of which the validation part of this text has {there:,}: give more text"
    return (
        f"The validation text is too short for a stable answer: with {windows} x {length} tokens "
        f"the uncertainty of the change {spread}, against a tolerance of {100 * tolerance:g} %. "
        f"For ± {percent(wanted_margin)} % {more}."
    )


def _plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    dense = result["dense_perplexity"]
    axes.axhline(dense, color="gray", linewidth=0.8, linestyle=":", label="dense")
    limit = result["dense_perplexity"] * (1 + result["tolerance"])
    for row in result["rows"]:
        points = sorted(
            (p["ratio"], p["perplexity"]) for p in row["probes"] if p["perplexity"] is not None
        )
        if points:
            style = "o-" if row["pattern"] == "unstructured" else "s"
            axes.plot(*zip(*points, strict=True), style, label=f"{row['metric']} {row['pattern']}")
    axes.axhline(limit, color="black", linewidth=0.8, label="tolerance")
    axes.set(xlabel="sparsity", ylabel="perplexity", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))  # many metrics hide no curve
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def _or_inf(value: float | None) -> float:
    return float("inf") if value is None else value
