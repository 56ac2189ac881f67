"""How busy workers are for a number of candidates in flight, from the seconds in recorded logs.

    python experiments/in_flight/simulate.py experiments/discovered/wide_50_seed0 ...

Candidate n begins on the first free worker once candidate n - depth was told; results are told in
order. Seconds are drawn from those of the log, with replacement.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from collections.abc import Sequence
from pathlib import Path

CANDIDATES = 4000


def busy(seconds: Sequence[float], workers: int, depth: int) -> float:
    """Return the share of the workers' time in which they compute."""
    free = [0.0] * workers
    told: list[float] = []
    for number, duration in enumerate(seconds):
        asked = told[number - depth] if number >= depth else 0.0
        end = max(heapq.heappop(free), asked) + duration
        heapq.heappush(free, end)
        told.append(max(end, told[-1] if told else 0.0))
    return sum(seconds) / (workers * told[-1])


def main() -> None:
    """Print a table for every log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--workers", nargs="*", type=int, default=[2, 4, 8, 16])
    parser.add_argument("--factors", nargs="*", type=float, default=[1, 1.5, 2, 3])
    options = parser.parse_args()
    header = ["run", "workers", *(f"{factor:g} per worker" for factor in options.factors)]
    print("| " + " | ".join(header) + " |\n" + "| --- " * len(header) + "|")
    for folder in options.runs:
        lines = (folder / "evaluations.jsonl").open()
        recorded = [json.loads(line)["seconds"] for line in lines]
        seconds = random.Random(0).choices(recorded, k=CANDIDATES)
        for workers in options.workers:
            shares = [busy(seconds, workers, round(f * workers)) for f in options.factors]
            cells = [folder.name, f"{workers}", *(f"{share:.0%}" for share in shares)]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
