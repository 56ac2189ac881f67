"""How much does a metric that competes over the whole model depend on the calibration sample?

    python experiments/calibration/samples.py --seeds 2 3 4 --sequences 32 128

Prunes SmolLM2-135M by ``mul(power(G, c), W)`` over the model, with gradients of other samples of
the calibration split, and measures perplexity on 8 x 1024 tokens of the search and of the
validation split.
"""

from __future__ import annotations

import argparse

from pruner_zero import (
    Metric,
    calibration_windows,
    load_corpus,
    load_model,
    measure_statistics,
    perplexity,
)
from pruner_zero.data.windows import spread_windows
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.masks import prune_masks
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.scoring import scorer
from pruner_zero.model.sparsity import Unstructured


def main() -> None:
    """Print one row per sample and exponent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[2, 3, 4])
    parser.add_argument("--sequences", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--exponents", nargs="+", default=["0.65", "0.77"])
    parser.add_argument("--sparsity", type=float, default=0.6)
    options = parser.parse_args()
    model, tokenizer = load_model("smollm2-135m", dtype="bfloat16")
    corpus = load_corpus("wikipedia")
    texts = {
        split: spread_windows(corpus.tokens(split, tokenizer), 1024, 8)
        for split in ("search", "validation")
    }
    calibration = corpus.tokens("calibration", tokenizer)
    layers = prunable_layers(model)
    dense = DenseWeights(layers)
    print("| sequences | seed | exponent | search | validation |\n" + "| --- " * 5 + "|")
    for sequences in options.sequences:
        for seed in options.seeds:
            statistics = measure_statistics(
                model, calibration_windows(calibration, sequences, 512, seed=seed), terminals=["G"]
            )
            for exponent in options.exponents:
                score = scorer(Metric.parse(f"mul(power(G, {exponent}), W)"), statistics, dense)
                pattern = Unstructured(options.sparsity, "model")
                with dense.pruned(prune_masks(layers, score, pattern)):
                    found = " | ".join(f"{perplexity(model, ids):.2f}" for ids in texts.values())
                print(f"| {sequences} | {seed} | {exponent} | {found} |", flush=True)


if __name__ == "__main__":
    main()
