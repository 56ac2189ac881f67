"""Does the fingerprint ever call two metrics the same that prune differently?

    python experiments/fingerprint_check/check.py --model smollm2-135m --trees 1500

Random trees and offspring of theirs are grouped by what the probe shows of them; the members of
every group are then pruned for real, and their whole masks are compared. A pair with the same
fingerprint and different masks is a false repeat; how many weights the two masks treat differently
says whether it is rounding (a few in a hundred million) or another metric.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import median

import torch

from pruner_zero.commands.display import Display
from pruner_zero.commands.schema import CorpusConfig, ModelConfig, WorkbenchConfig
from pruner_zero.commands.setup import calibrated, open_workbench
from pruner_zero.metric import Metric
from pruner_zero.model.layers import PrunableLayer, prunable_layers
from pruner_zero.model.masks import InvalidScores, Score, prune_masks
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import NofM, SparsityPattern, parse_sparsity, with_scope
from pruner_zero.search.breeder import Breeder
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.fingerprint import Probe
from pruner_zero.search.individual import Individual
from pruner_zero.search.primitives import primitive_set, tree_to_metric
from pruner_zero.search.randomness import drawing_from


def offspring(count: int, seed: int) -> list[Metric]:
    """Half random trees, half children of two of them, as a search makes them; distinct as text."""
    breeder = Breeder(primitive_set(), SearchConfig())
    found: dict[str, Metric] = {}
    trees: list[Individual] = []
    with drawing_from(random.Random(seed)):
        while len(found) < count:
            if len(trees) < 20 or random.random() < 0.5:
                tree = breeder.newborn().individual
            else:
                tree = breeder.offspring(*random.sample(trees, 2)).individual
            trees.append(tree)
            metric = tree_to_metric(tree)
            found.setdefault(str(metric), metric)
    return list(found.values())


def _masks(
    layers: Sequence[PrunableLayer], score: Score, pattern: SparsityPattern
) -> torch.Tensor | None:
    """The masks of the whole model in one row of bits; None when the scores are not valid."""
    try:
        kept = [prune.cpu().flatten() for _, prune in prune_masks(layers, score, pattern)]
    except InvalidScores:
        return None
    return torch.cat(kept)


def _difference(one: torch.Tensor | None, other: torch.Tensor | None) -> float:
    """Share of weights that one metric keeps and the other drops; 1 when only one is valid."""
    if one is None or other is None:
        return float(one is not other)
    return float((one != other).sum()) / one.numel()


def _middle_and_largest(shares: list[float]) -> str:
    return f"{median(shares):.1e} | {max(shares):.1e}" if shares else "| "


def main() -> None:
    """Print one row per sparsity and scope."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--corpus", default="wikipedia")
    parser.add_argument("--trees", type=int, default=1500)
    parser.add_argument("--members", type=int, default=6, help="members pruned per group")
    parser.add_argument("--groups", type=int, default=40, help="groups pruned per scope")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--patterns", nargs="*", default=["0.5@row", "0.5@layer", "0.5@block", "0.5@model", "2:4"]
    )
    options = parser.parse_args()
    display = Display()
    config = WorkbenchConfig(ModelConfig(options.model), CorpusConfig(options.corpus))
    bench = open_workbench(config, display)
    statistics = calibrated(bench, config.calibration, options.seed, display)
    layers = prunable_layers(bench.model)
    dense = DenseWeights(layers)
    probe = Probe(layers, dense, statistics)
    metrics = offspring(options.trees, options.seed)
    print(f"{options.model}, {len(metrics)} expressions\n")
    print(
        "| pattern | valid | fingerprints | ms each | groups pruned | pairs | false repeats "
        "| median share of weights that differ | largest | above one in 10,000 |"
    )
    print("| --- " * 10 + "|")
    for text in options.patterns:
        sparsity, _, scope = text.partition("@")
        pattern = parse_sparsity(sparsity)
        if not isinstance(pattern, NofM):
            pattern = with_scope(pattern, scope)
        groups: dict[str, list[Metric]] = defaultdict(list)
        start = time.perf_counter()
        for metric in metrics:
            look = probe.fingerprint(metric, pattern)
            if look:
                groups[look].append(metric)
        each = 1000 * (time.perf_counter() - start) / len(metrics)
        shared = [group for group in groups.values() if len(group) > 1]
        random.Random(options.seed).shuffle(shared)
        pairs = 0
        shares: list[float] = []
        for group in shared[: options.groups]:
            members = random.Random(options.seed).sample(group, min(len(group), options.members))
            pruned = [_masks(layers, scorer(m, statistics, dense), pattern) for m in members]
            for one, other in combinations(pruned, 2):
                pairs += 1
                if share := _difference(one, other):
                    shares.append(share)
        valid = sum(len(group) for group in groups.values())
        print(
            f"| {text} | {valid} | {len(groups)} | {each:.1f} | "
            f"{min(len(shared), options.groups)} | {pairs} | {len(shares)} | "
            f"{_middle_and_largest(shares)} | {sum(share > 1e-4 for share in shares)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
