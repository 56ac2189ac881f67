"""How far may one single window be trusted? The ``margin`` of racing, read off recorded runs.

    python experiments/racing_study/first_window.py RUN_FOLDER ...

Every pair of completely evaluated candidates of a run is a race of one window: one is stopped when
its first window is worse than the other's by more than the margin. The stop is false when it is
better on all windows together.
"""

from __future__ import annotations

import argparse
import json
from itertools import permutations
from pathlib import Path

from omegaconf import OmegaConf

MARGINS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
HOPELESS = 1000
"""Perplexity beyond which no candidate is in the study: any rule stops it."""


def differences(folder: Path) -> list[tuple[float, float]]:
    """Return how much worse one is, for all ordered pairs.

    Returns:
        Nats per token: (on the first window, on all windows).
    """
    fitness = OmegaConf.load(folder / "config.yaml").fitness
    windows, tokens = fitness.windows, fitness.length - 1
    lines = (folder / "evaluations.jsonl").read_text().splitlines()
    complete = [r for r in map(json.loads, lines) if r["complete"] and r["perplexity"]]
    distinct = {r["digest"]: r for r in complete if r["perplexity"] < HOPELESS}
    losses = [r["losses"] for r in distinct.values()]
    return [
        ((one[0] - other[0]) / tokens, (sum(one) - sum(other)) / tokens / windows)
        for one, other in permutations(losses, 2)
    ]


def main() -> None:
    """Print one line per margin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    pairs = [pair for run in parser.parse_args().runs for pair in differences(run)]
    better = [first for first, mean in pairs if mean < 0]
    worse = [first for first, mean in pairs if mean >= 0]
    print("| margin | better candidates stopped | worse candidates stopped |")
    print("| --- " * 3 + "|")
    for margin in MARGINS:
        false = sum(first > margin for first in better)
        right = sum(first > margin for first in worse)
        print(f"| {margin} | {false} of {len(better)} | {right / len(worse):.1%} |")


if __name__ == "__main__":
    main()
