"""Cut a long row of tokens into windows of equal length."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from pruner_zero.errors import UserError


def calibration_windows(
    tokens: torch.Tensor,
    count: int,
    length: int,
    seed: int,
    setting: str = "calibration.length",
) -> torch.Tensor:
    """Draw windows at random starts.

    Args:
        tokens: int64 [T].
        count: number of windows.
        length: tokens per window.
        seed: at least 0; equal seeds give equal windows.
        setting: name of the setting for `length`, for the error message.

    Returns:
        int64 [count, length]. Starts differ from each other as long as there are `count`
        different ones, so a short text is used evenly before anything repeats.

    Raises:
        UserError: non-positive sizes, a negative seed, or fewer than `length` tokens.
    """
    _check(tokens, count, length, needed=length, setting=setting)
    check_seed(seed)
    starts_available = tokens.numel() - length + 1
    generator = random.Random(seed)
    starts: list[int] = []
    while len(starts) < count:  # each pass adds at least one start, so this ends
        fresh = min(count - len(starts), starts_available)
        starts += generator.sample(range(starts_available), fresh)
    return tokens[torch.tensor(starts)[:, None] + torch.arange(length)]


def check_seed(seed: int) -> None:
    """Refuse negative seeds: Python's generator takes -1 for 1, and equal draws for different ones.

    Raises:
        UserError: a negative seed.
    """
    if seed < 0:
        raise UserError(f"seed {seed}: seeds are numbers from 0 up")


def consecutive_windows(
    tokens: torch.Tensor,
    length: int,
    count: int | None = None,
    setting: str = "fitness.length",
) -> torch.Tensor:
    """Cut windows from the start, one after the other, without overlap.

    Args:
        tokens: int64 [T].
        length: tokens per window.
        count: number of windows, by default as many as fit; the remainder is dropped.
        setting: name of the setting for `length`, for the error message.

    Returns:
        int64 [N, length], a view of `tokens`.

    Raises:
        UserError: non-positive sizes, or fewer tokens than the windows need.
    """
    wanted = 1 if count is None else count
    _check(tokens, wanted, length, needed=wanted * length, setting=setting)
    number = tokens.numel() // length if count is None else count
    return tokens[: number * length].view(number, length)


def spread_windows(
    tokens: torch.Tensor, length: int, count: int, setting: str = "fitness.length"
) -> torch.Tensor:
    """Cut windows at even distances over the whole text, without overlap.

    A few windows from the start would come from one article; spread out they speak for the text.

    Args:
        tokens: int64 [T].
        length: tokens per window.
        count: number of windows.
        setting: name of the setting for `length`, for the error message.

    Returns:
        int64 [count, length].

    Raises:
        UserError: non-positive sizes, or fewer tokens than the windows need.
    """
    _check(tokens, count, length, needed=count * length, setting=setting)
    starts = torch.arange(count) * (tokens.numel() // count)
    return tokens[starts[:, None] + torch.arange(length)]


def mixed_windows(
    texts: Sequence[torch.Tensor], length: int, count: int, setting: str = "fitness.length"
) -> torch.Tensor:
    """Cut windows from several texts, in turn: whoever stops early has seen them alike.

    Args:
        texts: int64 [T] each, at least one.
        length: tokens per window.
        count: number of windows, over all texts; the first ones get one more where it is uneven.
        setting: name of the setting for `length`, for the error message.

    Returns:
        int64 [count, length]. One text alone gives its `spread_windows`.

    Raises:
        UserError: fewer windows than texts, or fewer tokens than a text's windows need.
    """
    if count < len(texts):
        raise UserError(
            f"{count} windows are too few for {len(texts)} texts: one for each at least"
        )
    shares = [len(range(first, count, len(texts))) for first in range(len(texts))]
    parts = [
        spread_windows(text, length, share, setting)
        for text, share in zip(texts, shares, strict=True)
    ]
    return torch.stack([parts[i % len(texts)][i // len(texts)] for i in range(count)])


def _check(tokens: torch.Tensor, count: int, length: int, needed: int, setting: str) -> None:
    if length < 1 or count < 1:
        raise UserError(f"{setting}: needs at least 1 window of 1 token, not {count} of {length}")
    if tokens.numel() < needed:
        several = f"{count:,} windows of {length:,} tokens need"
        windows = "a window needs" if needed == length else several
        raise UserError(
            f"the text has {tokens.numel():,} tokens, but {windows} {needed:,}: lower "
            f"{setting} or the number of windows, or take a larger corpus"
        )
