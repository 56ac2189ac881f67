"""Replay racing over a run that evaluated every candidate on every window.

    python experiments/racing_study/replay.py RUN_FOLDER ... [--abandon 2 inf]

The losses of every window are in the log, so that every rule can be tried on the same candidates:
who would have been stopped, what that saves, and whether the hall of fame is still the same.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import OmegaConf

from pruner_zero.search.racing import RacingConfig, Rival, race


@dataclass
class Replay:
    """What a racing rule makes of a run."""

    top: int
    hall: list[tuple[float, int]] = field(default_factory=list)
    tokens: int = 0
    stopped: int = 0

    def add(self, number: int, losses: list[float], tokens: int, config: RacingConfig) -> None:
        """Race one candidate against the last place of the hall of fame."""
        rival = None
        if self.hall:
            free = len(self.hall) < self.top
            rival = Rival(tuple(self._losses[self.hall[0 if free else -1][1]]), not free)
        run = race(lambda count: losses[:count], len(losses), tokens, rival, config)
        assert run is not None  # every loss is there
        self.tokens += len(run.losses) * tokens
        self.stopped += not run.complete
        if run.complete:
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
    options = parser.parse_args()
    print("| run | abandon | confidence | margin | stopped | tokens of plain evaluation | saved "
          "| top kept |\n" + "| --- " * 8 + "|")  # fmt: skip
    for folder in options.runs:
        config = OmegaConf.load(folder / "config.yaml")
        tokens = config.fitness.length - 1
        records = [json.loads(line) for line in (folder / "evaluations.jsonl").open()]
        fresh = [r for r in records if r["cost"] and None not in r["losses"]]
        if any(not r["complete"] for r in fresh):
            raise SystemExit(f"{folder} was raced: run it with fitness.racing.enabled=false")
        results = json.loads((folder / "results.json").read_text())
        # Plain evaluation computes everything that variation makes: repeats too.
        made = results["search"]["candidates"] + results["search"]["refused_by_fingerprint"]
        plain = made * config.fitness.windows * tokens
        rules = [replace(RacingConfig(), enabled=False)]
        rules += [
            replace(RacingConfig(), confidence=c, margin=m, abandon=a)
            for a in options.abandon
            for c in options.confidence
            for m in options.margin
        ]
        reference: set[int] = set()
        for rule in rules:
            replay = Replay(options.top)
            for record in fresh:
                replay.add(record["evaluation"], record["losses"], tokens, rule)
            kept = {number for _, number in replay.hall}
            reference = reference or kept
            name = (rule.abandon, rule.confidence, rule.margin)
            shown = name if rule.enabled else ("", "no racing", "")
            print(f"| {folder.name} | {' | '.join(map(str, shown))} | "
                  f"{replay.stopped} of {len(fresh)} | "
                  f"{100 * replay.tokens / plain:.1f} % | {plain / replay.tokens:.1f} x | "
                  f"{len(kept & reference)} of {len(reference)} |")  # fmt: skip


if __name__ == "__main__":
    main()
