"""Best perplexity against cost, for several runs grouped by a setting: a plot and a table.

    python experiments/curves.py --by search.algorithm --out experiments/NAME RUN_FOLDER ...

A folder may be one run or a sweep of runs. Cost is the predicted tokens of forward passes in units
of one full evaluation; failed and repeated candidates cost none.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from omegaconf import OmegaConf


@dataclass(frozen=True)
class Run:
    """One finished search: its group, seed, curve and final numbers."""

    group: str
    seed: int
    cost: np.ndarray
    best: np.ndarray
    candidates: int
    results: dict

    def at(self, cost: float) -> float:
        """Best complete perplexity once this much was spent."""
        index = int(np.searchsorted(self.cost, cost, side="right")) - 1
        return float(self.best[index]) if index >= 0 else float("inf")


def read_run(folder: Path, by: list[str]) -> Run:
    """Read one run folder."""
    config = OmegaConf.load(folder / "config.yaml")
    full = config.fitness.windows * (config.fitness.length - 1)
    cost, best, spent, lowest = [], [], 0, float("inf")
    for line in (folder / "evaluations.jsonl").open():
        record = json.loads(line)
        spent += record["cost"]
        if record["complete"] and record["perplexity"] is not None:
            lowest = min(lowest, record["perplexity"])
        cost.append(spent / full)
        best.append(lowest)
    results = json.loads((folder / "results.json").read_text())
    group = ", ".join(str(OmegaConf.select(config, key)) for key in by)
    return Run(group, config.seed, np.array(cost), np.array(best), len(cost), results)


def find_runs(paths: list[Path]) -> list[Path]:
    """Run folders among and below the given ones."""
    return sorted(file.parent for path in paths for file in path.rglob("results.json"))


def plot(runs: list[Run], groups: list[str], title: str, path: Path) -> float:
    """Draw median and range over seeds of each group up to the common cost; return that cost."""
    common = min(float(run.cost[-1]) for run in runs)
    grid = np.linspace(0.5, common, 200)
    figure, axes = plt.subplots(figsize=(7, 4))
    for group in groups:
        curves = np.array([[run.at(c) for c in grid] for run in runs if run.group == group])
        curves[~np.isfinite(curves)] = np.nan
        (line,) = axes.plot(grid, np.median(curves, axis=0), label=group)
        axes.fill_between(
            grid, curves.min(axis=0), curves.max(axis=0), color=line.get_color(), alpha=0.15
        )
    axes.set(xlabel="full evaluations", ylabel="best search perplexity", title=title, yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    return common


def table(runs: list[Run], groups: list[str], common: float) -> str:
    """Markdown: per group the best at the common cost for each seed, and what was evaluated."""
    corpora = list(runs[0].results["test"]["corpora"])
    header = ["group", f"search perplexity at {common:.0f} full evaluations, by seed", "mean",
              "candidates", "refused repeats", "known masks", "stopped early",
              *(f"{corpus} test, by seed" for corpus in corpora)]  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    for group in groups:
        members = sorted((run for run in runs if run.group == group), key=lambda run: run.seed)
        values = [run.at(common) for run in members]
        counts: dict[str, list[float]] = defaultdict(list)
        for run in members:
            search = run.results["search"]
            counts["candidates"].append(search["candidates"])
            counts["refused"].append(search["refused_by_fingerprint"])
            known = search["known_by"]
            counts["known"].append(known.get("expression", 0) + known.get("digest", 0))
            counts["stopped"].append(search["stopped_early"])
        tests = [
            ", ".join(f"{run.results['table'][-1]['test_perplexity'][c]:.2f}" for run in members)
            for c in corpora
        ]
        cells = [group, ", ".join(f"{value:.2f}" for value in values),
                 f"{statistics.fmean(values):.2f}",
                 *(f"{statistics.fmean(v):.0f}" for v in counts.values()), *tests]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the runs, write ``curves.svg`` and ``table.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--by", nargs="+", required=True, help="settings that tell groups apart")
    parser.add_argument("--title", default="")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    runs = [read_run(folder, options.by) for folder in find_runs(options.runs)]
    if not runs:
        parser.error("no finished run in these folders")
    groups = sorted({run.group for run in runs})
    options.out.mkdir(parents=True, exist_ok=True)
    common = plot(runs, groups, options.title, options.out / "curves.svg")
    text = table(runs, groups, common)
    (options.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
