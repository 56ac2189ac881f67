"""Does the fingerprint ever call two metrics the same that prune differently?

    python experiments/fingerprint_check/check.py --model smollm2-135m --trees 1500

Random trees and offspring of theirs are grouped by what the probe shows of them; the members of
every group are then pruned for real, and their whole masks are compared. A pair with the same
fingerprint and different masks is a false repeat: of one metric up to rounding (fewer than one
weight in 10,000 is treated differently), with one that gives no valid scores elsewhere in the
model, or of metrics that differ.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

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

_ROUNDING = 1e-4  # share of all weights


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
        "| pattern | valid on the probe | fingerprints | ms each | groups pruned | pairs "
        "| same masks | rounding | one is invalid | others | largest share of weights |"
    )
    print("| --- " * 11 + "|")
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
        pairs = invalid = 0
        shares: list[float] = []
        for group in shared[: options.groups]:
            members = random.Random(options.seed).sample(group, min(len(group), options.members))
            pruned = [_masks(layers, scorer(m, statistics, dense), pattern) for m in members]
            for one, other in combinations(pruned, 2):
                pairs += 1
                if one is None or other is None:
                    invalid += one is not other
                elif share := float((one != other).sum()) / one.numel():
                    shares.append(share)
        rounding = sum(share < _ROUNDING for share in shares)
        valid = sum(len(group) for group in groups.values())
        print(
            f"| {text} | {valid} | {len(groups)} | {each:.1f} | "
            f"{min(len(shared), options.groups)} | {pairs} | {pairs - invalid - len(shares)} | "
            f"{rounding} | {invalid} | {len(shares) - rounding} | {max(shares, default=0):.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
