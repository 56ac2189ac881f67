"""Best perplexity over two settings of a sweep: a heat map and a table, over seeds.

    python -m experiments.sweeps.heat_map --rows search.population_size \
        --columns search.mutation_probability --out experiments/sweeps/population_mutation FOLDER

All runs are compared at the cost that the cheapest of them spent, in units of one full evaluation.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pruner_zero.report import Curve, common_costs, find_runs, read_run

Cells = dict[tuple[float, float], dict[int, float]]


def collect(folders: list[Path], rows: str, columns: str) -> tuple[Cells, float]:
    """Return best perplexity by (row, column) and seed at the common cost, and that cost."""
    runs = [run for folder in folders if (run := read_run(folder)).outcome]
    curves = [Curve.of(run) for run in runs]
    common = common_costs(curves)[-1] if runs else 0.0
    cells: Cells = defaultdict(dict)
    for run, curve in zip(runs, curves, strict=True):
        if (best := curve.at(common)) is not None:
            cells[run.setting(rows), run.setting(columns)][run.setting("seed")] = best
    return cells, common


def table(cells: Cells, rows: str, columns: str, common: float) -> str:
    """Markdown: a line per pair of settings, with mean and every seed."""
    seeds = sorted({seed for values in cells.values() for seed in values})
    header = [rows, columns, "mean", *(f"seed {seed}" for seed in seeds)]
    lines = [f"Best search perplexity at {common:.0f} full evaluations", ""]
    lines += ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header))]
    for (row, column), values in sorted(cells.items()):
        shown = [f"{values[seed]:.2f}" if seed in values else "" for seed in seeds]
        mean = f"{statistics.fmean(values.values()):.2f}"
        lines.append("| " + " | ".join([f"{row:g}", f"{column:g}", mean, *shown]) + " |")
    return "\n".join(lines) + "\n"


def plot(cells: Cells, rows: str, columns: str, common: float, path: Path) -> None:
    """Draw the mean of every cell as colour and number, with the spread over seeds."""
    heights = sorted({row for row, _ in cells})
    widths = sorted({column for _, column in cells})
    means = np.full((len(heights), len(widths)), np.nan)
    figure, axes = plt.subplots(figsize=(6, 4))
    for (row, column), values in cells.items():
        place = heights.index(row), widths.index(column)
        means[place] = statistics.fmean(values.values())
    finite = np.ma.masked_invalid(means)
    image = axes.imshow(finite, cmap="viridis_r", aspect="auto")
    for (row, column), values in cells.items():
        place = heights.index(row), widths.index(column)
        low, high = min(values.values()), max(values.values())
        dark = finite[place] > (finite.min() + finite.max()) / 2
        axes.text(place[1], place[0], f"{means[place]:.2f}\n({low:.2f} to {high:.2f})",
                  ha="center", va="center", color="black" if not dark else "white",
                  fontsize=8)  # fmt: skip
    axes.set_xticks(range(len(widths)), [f"{width:g}" for width in widths])
    axes.set_yticks(range(len(heights)), [f"{height:g}" for height in heights])
    axes.set(xlabel=columns, ylabel=rows,
             title=f"Best search perplexity at {common:.0f} full evaluations\n"
                   "mean over seeds (least to greatest)")  # fmt: skip
    figure.colorbar(image)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Read the runs, write ``heat_map.svg`` and ``table.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rows", required=True, help="setting with numbers")
    parser.add_argument("--columns", required=True, help="setting with numbers")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    cells, common = collect(find_runs(options.runs), options.rows, options.columns)
    if not cells:
        parser.error("no finished run in these folders")
    options.out.mkdir(parents=True, exist_ok=True)
    plot(cells, options.rows, options.columns, common, options.out / "heat_map.svg")
    text = table(cells, options.rows, options.columns, common)
    (options.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
