"""Best perplexity against cost, for several runs grouped by a setting: a plot and a table.

    python experiments/curves.py --by search.algorithm --out experiments/NAME RUN_FOLDER ...

A folder may be one run or a sweep of runs; unfinished runs are left out. Cost is the predicted
tokens of forward passes in units of one full evaluation; failed and repeated candidates cost none.
`pruner-zero report` shows the same runs as an interactive page.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from pruner_zero.report import Curve, Outcome, common_costs, find_runs, read_run, spread
from pruner_zero.report.savings import left_out


@dataclass(frozen=True)
class Member:
    """One finished search: its group, seed, curve and final numbers."""

    group: str
    seed: int
    curve: Curve
    outcome: Outcome


def read_members(paths: list[Path], by: list[str]) -> list[Member]:
    """Read the finished runs among and below the given folders."""
    runs = [read_run(folder) for folder in find_runs(paths)]
    return [
        Member(
            ", ".join(str(run.setting(key)) for key in by),
            run.setting("seed"),
            Curve.of(run),
            run.outcome,
        )
        for run in runs
        if run.outcome
    ]


def plot(members: list[Member], groups: list[str], title: str, path: Path) -> float:
    """Draw median and range over seeds of each group up to the common cost; return that cost."""
    costs = common_costs([member.curve for member in members])
    figure, axes = plt.subplots(figsize=(7, 4))
    for group in groups:
        course = spread([member.curve for member in members if member.group == group], costs)
        low, middle, high = (
            [float("nan") if value is None else value for value in values]
            for values in (course.low, course.middle, course.high)
        )
        (line,) = axes.plot(costs, middle, label=group)
        axes.fill_between(costs, low, high, color=line.get_color(), alpha=0.15)
    axes.set(xlabel="full evaluations", ylabel="best search perplexity", title=title, yscale="log")
    axes.grid(alpha=0.3, which="both")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter("{x:g}")  # 38, not 3.8 x 10^1
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    return costs[-1]


def table(members: list[Member], groups: list[str], common: float) -> str:
    """Markdown: per group the best at the common cost for each seed, and what was evaluated."""
    corpora = members[0].outcome.corpora
    header = ["group", f"search perplexity at {common:.0f} full evaluations, by seed", "mean",
              "candidates", "repeats left out", "known masks", "stopped early",
              *(f"{corpus} test, by seed" for corpus in corpora)]  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    for group in groups:
        seeded = sorted((m for m in members if m.group == group), key=lambda m: m.seed)
        values = [member.curve.at(common) for member in seeded]
        counts: dict[str, list[float]] = defaultdict(list)
        for member in seeded:
            search = member.outcome.counts
            counts["candidates"].append(search["candidates"])
            counts["left out"].append(left_out(search))
            known = search["known_by"]
            counts["known"].append(known.get("expression", 0) + known.get("digest", 0))
            counts["stopped"].append(search["stopped_early"])
        tests = [", ".join(f"{m.outcome.best(c):.2f}" for m in seeded) for c in corpora]
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
    members = read_members(options.runs, options.by)
    if not members:
        parser.error("no finished run in these folders")
    groups = sorted({member.group for member in members})
    options.out.mkdir(parents=True, exist_ok=True)
    common = plot(members, groups, options.title, options.out / "curves.svg")
    text = table(members, groups, common)
    (options.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
