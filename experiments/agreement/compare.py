"""Prune the same model with the public code and with this project; print both sides.

    python experiments/agreement/compare.py --wanda ../wanda --pruner-zero ../Pruner-Zero \
        --sparsegpt ../sparsegpt --model smollm2-135m --nsamples 8 --length 256
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import torch
from public_code import load_file, load_library, prune_public, public_perplexity
from torch import Tensor

from pruner_zero.data.corpus import load_corpus
from pruner_zero.data.windows import calibration_windows, consecutive_windows
from pruner_zero.model.accumulators import Hessians
from pruner_zero.model.hooks import LayerInputs
from pruner_zero.model.layers import PrunableLayer, prunable_layers
from pruner_zero.model.loading import load_model
from pruner_zero.model.methods import Method, resolve_method, resolve_pattern
from pruner_zero.model.perplexity import perplexity
from pruner_zero.model.prune import prune
from pruner_zero.model.pruning import DenseWeights
from pruner_zero.model.public_files import read_gradient_file, write_gradient_file
from pruner_zero.model.sparsegpt import sparsegpt
from pruner_zero.model.sparsity import NofM, SparsityPattern, Unstructured
from pruner_zero.model.statistics import Statistics, measure_statistics

TIE = 1e-5  # scores this close to the threshold, relatively, are decided by rounding


class Recorder:
    """A metric that also notes which scores are next to their threshold."""

    def __init__(self, method: Method, pattern: SparsityPattern) -> None:
        assert method.metric is not None  # SparseGPT has none, and no scores to note
        self.metric, self.pattern = method.metric, pattern
        self.near: list[Tensor] = []

    @property
    def terminals(self) -> frozenset[str]:
        return self.metric.terminals

    def score(self, W: Tensor, **others: Tensor) -> Tensor:
        scores = self.metric.score(W, **others)
        last = 0  # places past ours where the public threshold lies
        if isinstance(self.pattern, NofM):
            sets, k = scores.reshape(-1, self.pattern.m), self.pattern.n
        elif self.pattern.scope == "row":
            sets, k = scores, int(scores.shape[1] * self.pattern.ratio)
        else:
            sets, k, last = scores.reshape(1, -1), int(scores.numel() * self.pattern.ratio), 1
        near = torch.zeros_like(sets, dtype=torch.bool)
        for place in (k, k + last):
            threshold = sets.kthvalue(place, dim=1, keepdim=True).values
            near |= (sets - threshold).abs() <= TIE * threshold.abs()
        self.near.append(near.reshape(scores.shape).cpu())
        return scores


def zeros(layers: tuple[PrunableLayer, ...]) -> list[Tensor]:
    return [(layer.weight == 0).cpu() for layer in layers]


def compare_methods(
    library: Any,
    methods: list[str],
    model: Any,
    data: tuple[Tensor, Tensor],
    sparsities: list[str],
    gradients: tuple[Path, Statistics] | None = None,
    engine: Any = None,
    stable_ties: bool = False,
) -> None:
    """Print one line per method and sparsity: masks of both sides, perplexities of both sides."""
    calibration, test = data
    layers = prunable_layers(model)
    dense = DenseWeights(layers)
    total = sum(layer.weight.numel() for layer in layers)
    for method in methods:
        for sparsity in sparsities:
            path = gradients[0] if gradients else None
            prune_public(library, method, model, calibration, sparsity, path, engine, stable_ties)
            theirs = zeros(layers)
            their_perplexity = public_perplexity(library, model, test)
            cross = perplexity(model, test)
            dense.restore()
            resolved = resolve_method(method)
            pattern = resolve_pattern(resolved, sparsity, None)
            recorder = Recorder(resolved, pattern) if resolved.metric else None
            prune(
                model,
                recorder or method,
                pattern,
                calibration=calibration,
                statistics=gradients[1] if gradients else None,
            )
            ours = zeros(layers)
            our_perplexity = perplexity(model, test)
            dense.restore()
            differ = [a != b for a, b in zip(theirs, ours, strict=True)]
            apart = sum(int(d.sum()) for d in differ)
            near = recorder.near if recorder else [torch.zeros_like(d) for d in differ]
            real = sum(int((d & ~n).sum()) for d, n in zip(differ, near, strict=True))
            print(
                f"| {method} | {sparsity} | {100 * (1 - apart / total):.4f} % | {apart} | {real} | "
                f"{their_perplexity:.3f} | {cross:.3f} | {our_perplexity:.3f} | "
                f"{100 * (our_perplexity / cross - 1):+.3f} % |",
                flush=True,
            )


def compare_sparsegpt_layers(clone: Path, model: Any, ids: Tensor, sparsities: list[str]) -> None:
    """Every Linear of block 0 through the original SparseGPT class and through ours."""
    original = load_file(clone / "sparsegpt.py", "original_sparsegpt")
    members = [layer for layer in prunable_layers(model) if layer.block == 0]
    dense = DenseWeights(members)
    inputs: dict[str, list[Tensor]] = {layer.name: [] for layer in members}
    hessians = Hessians(members)
    listen = LayerInputs(members, lambda layer, x: inputs[layer.name].append(x))
    with torch.no_grad(), hessians, listen:
        for row in ids:
            model(row.unsqueeze(0).to(model.device))
    print("\n| layer | sparsity | same weights pruned | relative distance of the results |")
    print("| --- | --- | --- | --- |")
    if not torch.cuda.is_available():
        torch.cuda.synchronize = lambda *a: None
    for layer in members:
        for sparsity in sparsities:
            n, m = map(int, sparsity.split(":")) if ":" in sparsity else (0, 0)
            pattern = NofM(n, m) if m else Unstructured(float(sparsity))
            ours = sparsegpt(layer.weight, hessians.matrix(layer), pattern, layer.name)
            other = original.SparseGPT(layer.module)
            for x in inputs[layer.name]:
                other.add_batch(x.unsqueeze(0), None)
            with contextlib.redirect_stdout(io.StringIO()):
                other.fasterprune(pattern.ratio, prunen=n, prunem=m, percdamp=0.01, blocksize=128)
            theirs = layer.weight.detach().float().clone()
            dense.restore()
            same = float(((ours == 0) == (theirs == 0)).float().mean())
            distance = float((ours - theirs).norm() / theirs.norm())
            print(f"| {layer.short_name} | {sparsity} | {100 * same:.4f} % | {distance:.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wanda", type=Path, help="clone of github.com/locuslab/wanda")
    parser.add_argument("--pruner-zero", type=Path, help="clone of github.com/pprp/Pruner-Zero")
    parser.add_argument("--sparsegpt", type=Path, help="clone of github.com/IST-DASLab/sparsegpt")
    parser.add_argument("--model", default="smollm2-135m", help="a LLaMA: name, hub id or folder")
    parser.add_argument("--corpus", default="wikipedia")
    parser.add_argument("--files", nargs="*", default=[], help="own text, with --corpus files")
    parser.add_argument("--methods", nargs="*", default=["magnitude", "wanda", "sparsegpt"])
    parser.add_argument("--sparsity", nargs="*", default=["0.5", "4:8", "2:4"])
    parser.add_argument(
        "--nsamples", type=int, default=8, help="calibration sequences, at most 128"
    )
    parser.add_argument("--length", type=int, default=256, help="tokens per sequence and window")
    parser.add_argument("--windows", type=int, default=16, help="test windows")
    parser.add_argument(
        "--stable-ties",
        action="store_true",
        help="break the public code's N:M ties (unspecified in torch.topk) by the lower index",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default=None)
    options = parser.parse_args()
    model, tokenizer = load_model(options.model, "float32", options.device)
    corpus = load_corpus(options.corpus, options.files)
    calibration = calibration_windows(
        corpus.tokens("calibration", tokenizer), options.nsamples, options.length, options.seed
    )
    test = consecutive_windows(corpus.tokens("test", tokenizer), options.length, options.windows)
    test = test.to(model.device)
    print(f"{options.model}, {options.corpus}, {options.nsamples} × {options.length} tokens,")
    print(f"test {tuple(test.shape)}, dense perplexity {perplexity(model, test):.3f}\n")
    print(
        "| method | sparsity | same zeros | differ | away from ties | public, its own perplexity "
        "| public masks, our perplexity | ours | difference |"
    )
    print("| --- " * 9 + "|")
    data = (calibration, test)
    if options.wanda:
        library = load_library(options.wanda, "public_wanda")
        compare_methods(
            library,
            options.methods,
            model,
            data,
            options.sparsity,
            stable_ties=options.stable_ties,
        )
    if options.pruner_zero:
        library = load_library(options.pruner_zero, "public_pruner_zero")
        tree = load_file(options.pruner_zero / "lib" / "gptree.py", "public_gptree")
        engine = tree.GPTree.load_tree(str(options.pruner_zero / "data" / "best_tree.json"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "gradients.pth"
            measured = measure_statistics(model, calibration, ["G"])
            write_gradient_file(path, measured, model)
            read = read_gradient_file(path, model)
            compare_methods(
                library,
                ["pruner-zero"],
                model,
                data,
                options.sparsity,
                (path, read),
                engine,
                options.stable_ties,
            )
    if options.sparsegpt:
        compare_sparsegpt_layers(options.sparsegpt, model, calibration, options.sparsity)


if __name__ == "__main__":
    main()
