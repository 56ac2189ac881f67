"""Perplexity, token by token exact: exp(Σ negative log likelihood / number of predicted tokens)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pruner_zero.errors import OutOfDeviceMemory, UserError
from pruner_zero.model.flow import flown_head
from pruner_zero.model.head import CausalHead, check_length
from pruner_zero.model.hosted import hosted_blocks
from pruner_zero.model.modes import evaluation_mode

_ABSURD = 1000.0
_SMALL_CHUNK = 128
_CUDA_TOKENS = 16384
_LARGE_CUDA = 40 << 30  # bytes; with more, twice as many tokens are no risk
Progress = Callable[[int, int], None]


def perplexity(
    model: nn.Module,
    ids: Tensor,
    window: int = 2048,
    batch: int | None = None,
    chunk: int | None = None,
    progress: Progress | None = None,
    head: CausalHead | None = None,
) -> float:
    """Perplexity of a causal language model on token sequences.

    Args:
        model: the model; its mode and weights are left as they are.
        ids: [N, L] int64. Longer rows than ``window`` are cut into windows that share no token.
        window: most tokens per forward pass; a window of w tokens predicts w − 1.
        batch: windows per forward pass; see `default_batch`.
        chunk: tokens whose logits exist at once; by default by the device.
        progress: called with (windows done, windows).
        head: ``CausalHead.of(model)``, to save its check when calling often.

    Returns:
        The perplexity; ``inf`` when any loss is not finite.

    Raises:
        UserError: ids longer than the model's positions, or not enough memory.
    """
    nll, tokens = negative_log_likelihoods(model, ids, window, batch, chunk, progress, head)
    return perplexity_of(float(nll.sum()), int(tokens.sum()))


def perplexity_of(nll: float, tokens: int) -> float:
    """Perplexity from a sum of negative log likelihoods.

    Args:
        nll: sum over the predicted tokens, in nats.
        tokens: number of predicted tokens.

    Returns:
        ``exp(nll / tokens)``; ``inf`` when it is not finite.
    """
    mean = nll / tokens
    return math.exp(mean) if mean < 700 else math.inf  # NaN compares false


def negative_log_likelihoods(
    model: nn.Module,
    ids: Tensor,
    window: int = 2048,
    batch: int | None = None,
    chunk: int | None = None,
    progress: Progress | None = None,
    head: CausalHead | None = None,
) -> tuple[Tensor, Tensor]:
    """Negative log likelihood of every window, for callers that stop early or compare windows.

    Args:
        model: see ``perplexity``.
        ids: see ``perplexity``.
        window: see ``perplexity``.
        batch: see ``perplexity``.
        chunk: see ``perplexity``.
        progress: see ``perplexity``.
        head: see ``perplexity``.

    Returns:
        Sum of the negative log likelihood per window (float64, nats) and predicted tokens per
        window (int64), both [windows] on the CPU, in the order of the text.

    Raises:
        UserError: see ``perplexity``.
    """
    if ids.dim() != 2 or ids.is_floating_point():
        raise UserError(f"ids must be integers of shape [N, L], got {ids.dtype} {list(ids.shape)}")
    head = head or CausalHead.of(model)
    check_length(head, min(window, ids.shape[1]))
    windows = _windows(ids, window)
    if batch is None:
        batch = default_batch(head.device, window)
    sums = torch.zeros(len(windows), dtype=torch.float64)
    tokens = torch.tensor([len(piece) - 1 for piece in windows], dtype=torch.int64)
    with torch.no_grad(), evaluation_mode(model):
        if hosted_blocks(model) and head.decoder is not None:
            head, batch = flown_head(head, windows), 1
        done = failures = 0
        while done < len(windows):
            same = _same_length(windows, done, batch)
            rows = torch.stack(windows[done : done + same])
            try:
                sums[done : done + same] = _losses(head, rows, chunk)
            except torch.OutOfMemoryError:
                failures += 1
                batch, chunk = _smaller(same, chunk, window, failures)
                continue
            done += same
            if progress:
                progress(done, len(windows))
    return sums, tokens


def default_batch(device: torch.device, window: int) -> int:
    """Windows per forward pass: one on the CPU, 16 k tokens on CUDA, 32 k on a large device."""
    if device.type != "cuda":
        return 1
    large = torch.cuda.get_device_properties(device).total_memory > _LARGE_CUDA
    return max(1, _CUDA_TOKENS * (1 + large) // window)


def check_dense(value: float) -> str | None:
    """Judge the perplexity of a dense model before anything is pruned.

    Args:
        value: its perplexity on plain text.

    Returns:
        A warning when it is absurd (above 1000), else None.

    Raises:
        UserError: it is not finite.
    """
    if value <= _ABSURD:
        return None
    why = "the checkpoint is broken or the tokenizer is not its own"
    if not math.isfinite(value):
        raise UserError(
            f"the dense model's perplexity is not finite: {why}, or its numbers do not fit its "
            "data type (model.dtype=float32)"
        )
    return (
        f"the dense model's perplexity is {value:.4g}: {why}, so no pruned number below means "
        "anything"
    )


def _windows(ids: Tensor, window: int) -> list[Tensor]:
    # A last piece of a single token predicts nothing and is left out.
    return [piece for row in ids for piece in row.split(window) if len(piece) > 1]


def _same_length(windows: list[Tensor], start: int, batch: int) -> int:
    count = 1
    while (
        count < batch
        and start + count < len(windows)
        and len(windows[start + count]) == len(windows[start])
    ):
        count += 1
    return count


def _losses(head: CausalHead, ids: Tensor, chunk: int | None) -> Tensor:
    """Sum of the negative log likelihood of each row of [batch, length], float64 on the CPU."""
    ids = ids.to(head.device)
    hidden = head.hidden(ids)
    size = chunk or head.chunk_tokens()
    flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
    targets = ids[:, 1:].reshape(-1)
    losses = torch.cat(
        [
            head.token_losses(piece, wanted)
            for piece, wanted in zip(flat.split(size), targets.split(size), strict=True)
        ]
    )
    return losses.view(len(ids), -1).double().sum(dim=1).cpu()


def _smaller(batch: int, chunk: int | None, window: int, failures: int) -> tuple[int, int | None]:
    """Half the batch, then one window and a small chunk, after out of memory; then an error."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if batch > 1 and failures == 1:
        return batch // 2, chunk
    if batch > 1 or chunk is None or chunk > _SMALL_CHUNK:
        return 1, _SMALL_CHUNK
    raise OutOfDeviceMemory(
        f"out of memory with one window of {window} tokens: set memory=blockwise, or a smaller "
        "window or dtype"
    )
