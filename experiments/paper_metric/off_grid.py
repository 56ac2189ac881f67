"""Take the embedded model off its 4-bit grid: does the grid decide which metric wins?

Every block of 32 weights of a row lies on 16 equally spaced values (Q4_1). Uniform noise of one
step's width spreads each value over its own cell, so that magnitudes no longer tie and have the
density that the unquantised weights had to the resolution of the grid. The noise is as large as
the error that quantisation made, so the dense model gets worse too: compare metrics with each
other on the new model, not with those on the old one.

    python experiments/paper_metric/off_grid.py runs/off_grid/model
    pruner-zero compare model=hub model.path=runs/off_grid/model \
        methods=[dense,magnitude,wanda,pruner-zero] sparsity=[0.5,2:4] seeds=[0,1,2] \
        output=experiments/paper_metric/off_grid
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pruner_zero import load_model
from pruner_zero.model.layers import prunable_layers

BLOCK = 32


def step_of(blocks: torch.Tensor) -> torch.Tensor:
    """Return the grid's step of each block.

    Args:
        blocks: weights [n, 32].

    Returns:
        Smallest distance of two different values, [n, 1]; 0 where all are equal.
    """
    gaps = blocks.sort(dim=1).values.diff(dim=1)
    # Values of one cell differ by rounding alone.
    gaps = gaps.masked_fill(gaps < 1e-5 * blocks.abs().amax(1, keepdim=True), torch.inf)
    step = gaps.amin(dim=1, keepdim=True)
    return torch.where(step.isfinite(), step, 0.0)


def spread(weight: torch.Tensor, generator: torch.Generator) -> None:
    """Add noise of one step's width, in place.

    Args:
        weight: [out, in], in a multiple of 32.
        generator: of the noise.
    """
    blocks = weight.view(-1, BLOCK)
    noise = torch.rand(blocks.shape, generator=generator) - 0.5
    blocks += noise * step_of(blocks)


def main() -> None:
    """Write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the model is written")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model, tokenizer = load_model("smollm2-135m", dtype="float32", device="cpu")
    generator = torch.Generator().manual_seed(arguments.seed)
    for layer in prunable_layers(model):
        spread(layer.weight.data, generator)
    model.save_pretrained(arguments.folder)
    tokenizer.save_pretrained(arguments.folder)


if __name__ == "__main__":
    main()
