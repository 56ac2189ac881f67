"""Replay racing over the candidates of a run.

    python experiments/racing_study/replay.py RUN_FOLDER ... [--abandon 2 inf] [--plot FILE.svg]

A run that evaluated every candidate on every window has every loss in its log, so that every rule
can be tried on the same candidates: who would have been stopped, what that saves, and whether the
hall of fame is still the same. Of a run that was raced itself, stricter rules can be tried: what a
rule would have let go on and the run did not counts as stopped where the run stopped it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from omegaconf import OmegaConf

from pruner_zero.report.savings import left_out
from pruner_zero.search.racing import RacingConfig, Rival, race


@dataclass
class Replay:
    """What a racing rule makes of a run."""

    top: int
    hall: list[tuple[float, int]] = field(default_factory=list)
    tokens: int = 0
    stopped: int = 0

    def add(
        self, number: int, losses: list[float], windows: int, tokens: int, config: RacingConfig
    ) -> None:
        """Race one candidate against the last place of the hall of fame."""
        rival = None
        if self.hall:
            free = len(self.hall) < self.top
            rival = Rival(tuple(self._losses[self.hall[0 if free else -1][1]]), not free)
        run = race(
            lambda count: losses[:count] if count <= len(losses) else None,
            windows,
            tokens,
            rival,
            config,
        )
        seen = len(run.losses) if run else len(losses)
        self.tokens += seen * tokens
        self.stopped += seen < windows
        if seen == windows:
            self._losses[number] = losses
            self.hall = sorted([*self.hall, (sum(losses), number)])[: self.top]

    def __post_init__(self) -> None:
        self._losses: dict[int, list[float]] = {}


def main() -> None:
    """Print one line per rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--confidence", nargs="*", type=float, default=[0.8, 0.9, 0.95, 0.99])
    parser.add_argument("--margin", nargs="*", type=float, default=[0.5, 1.0, 2.0])
    parser.add_argument("--abandon", nargs="*", type=float, default=[2.0, float("inf")])
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--rungs", nargs="*", default=["1,2,4,8,16"], help="such as 1,2,4 1,2,3,4")
    parser.add_argument("--plot", type=Path, help="an SVG file: what rules save, what they keep")
    options = parser.parse_args()
    points: dict[str, list[tuple[float, float]]] = {}
    print("| run | abandon | confidence | margin | rungs | stopped | tokens of plain evaluation "
          "| saved | top kept |\n" + "| --- " * 9 + "|")  # fmt: skip
    for folder in options.runs:
        config = OmegaConf.load(folder / "config.yaml")
        tokens = config.fitness.length - 1
        records = [json.loads(line) for line in (folder / "evaluations.jsonl").open()]
        fresh = [r for r in records if r["cost"] and None not in r["losses"]]
        raced = any(not r["complete"] for r in fresh)
        results = json.loads((folder / "results.json").read_text())
        # Plain evaluation computes everything that variation makes: repeats too. Of a raced run
        # failures, whose scores no mask can be made of, are left out.
        usable = [r for r in records if r["reason"] is None] if raced else records
        made = len(usable) + left_out(results["search"])
        plain = made * config.fitness.windows * tokens
        rules = [replace(RacingConfig(**config.fitness.racing) if raced else RacingConfig(),
                         enabled=raced)]  # fmt: skip
        rules += [
            replace(RacingConfig(), confidence=c, margin=m, abandon=a, rungs=r)
            for a in options.abandon
            for c in options.confidence
            for m in options.margin
            for r in ([int(rung) for rung in text.split(",")] for text in options.rungs)
        ]
        reference: set[int] = set()
        for rule in rules:
            replay = Replay(options.top)
            for record in fresh:
                windows = config.fitness.windows
                replay.add(record["evaluation"], record["losses"], windows, tokens, rule)
            kept = {number for _, number in replay.hall}
            reference = reference or kept
            if rule.enabled:
                points.setdefault(f"{folder.name}, abandon {rule.abandon}", []).append(
                    (plain / replay.tokens, len(kept & reference) / len(reference))
                )
            rungs = ",".join(str(r) for r in rule.rungs if r < config.fitness.windows)
            name = (rule.abandon, rule.confidence, rule.margin, rungs)
            shown = name if rule.enabled else ("", "no racing", "", "")
            print(f"| {folder.name} | {' | '.join(map(str, shown))} | "
                  f"{replay.stopped} of {len(fresh)} | "
                  f"{100 * replay.tokens / plain:.1f} % | {plain / replay.tokens:.1f} x | "
                  f"{len(kept & reference)} of {len(reference)} |")  # fmt: skip
    if options.plot:
        draw(points, options.plot)


def draw(points: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Draw the share of the top that is kept against how many times fewer tokens are spent."""
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for label, rules in points.items():
        axes.scatter(*zip(*rules, strict=True), label=label, alpha=0.6)
    axes.set(xlabel="fewer tokens than plain evaluation, times", ylabel="share of the top kept")
    axes.set_ylim(-0.05, 1.05)
    axes.axvline(5, color="grey", linestyle=":", label="wanted")
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
