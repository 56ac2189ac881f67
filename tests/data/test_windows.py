from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.data.windows import (
    calibration_windows,
    consecutive_windows,
    mixed_windows,
    spread_windows,
)
from pruner_zero.errors import UserError


@given(
    size=st.integers(1, 200),
    count=st.integers(1, 40),
    length=st.integers(1, 50),
    seed=st.integers(0, 2**40),
)
def test_calibration_windows_are_slices_of_the_text(
    size: int, count: int, length: int, seed: int
) -> None:
    tokens = torch.arange(size)
    if size < length:
        with pytest.raises(UserError):
            calibration_windows(tokens, count, length, seed)
        return
    windows = calibration_windows(tokens, count, length, seed)
    assert windows.shape == (count, length) and windows.dtype == torch.long
    starts = windows[:, 0]
    assert torch.equal(windows, starts[:, None] + torch.arange(length))
    # Starts repeat only when there are fewer of them than windows.
    assert len(set(starts.tolist())) == min(count, size - length + 1)
    assert torch.equal(windows, calibration_windows(tokens, count, length, seed))


def test_every_seed_counts_zero_too() -> None:
    tokens = torch.arange(10_000)
    with pytest.raises(UserError, match="seed -1"):
        calibration_windows(tokens, 4, 8, -1)
    drawn = [calibration_windows(tokens, 4, 8, seed) for seed in (0, 1, 2)]
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])
    state = torch.random.get_rng_state()
    calibration_windows(tokens, 4, 8, 0)
    assert torch.equal(state, torch.random.get_rng_state())


@given(size=st.integers(1, 300), length=st.integers(1, 60))
def test_consecutive_windows_cover_the_text_once(size: int, length: int) -> None:
    tokens = torch.arange(size)
    if size < length:
        with pytest.raises(UserError):
            consecutive_windows(tokens, length)
        return
    windows = consecutive_windows(tokens, length)
    assert windows.shape == (size // length, length)
    assert torch.equal(windows.flatten(), tokens[: windows.numel()])


def test_consecutive_windows_with_a_count() -> None:
    assert consecutive_windows(torch.arange(10), 3, 2).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_too_short_texts_say_what_to_change() -> None:
    with pytest.raises(UserError) as caught:
        calibration_windows(torch.arange(1500), 8, 2048, 0)
    assert str(caught.value) == (
        "the text has 1,500 tokens, but a window needs 2,048: lower calibration.length or the "
        "number of windows, or take a larger corpus"
    )
    with pytest.raises(UserError, match=r"4 windows of 2,048 tokens need 8,192: lower eval\.len"):
        consecutive_windows(torch.arange(5000), 2048, 4, setting="eval.len")


@pytest.mark.parametrize(("count", "length"), [(0, 4), (4, 0), (-1, 4)])
def test_sizes_must_be_positive(count: int, length: int) -> None:
    with pytest.raises(UserError, match=r"calibration\.length: needs at least 1 window"):
        calibration_windows(torch.arange(100), count, length, 0)
    with pytest.raises(UserError, match="needs at least 1 window"):
        consecutive_windows(torch.arange(100), length, count)


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 500))
def test_spread_windows_cover_the_text_without_overlap(count, length, extra):
    tokens = torch.arange(count * length + extra)
    windows = spread_windows(tokens, length, count)
    assert windows.shape == (count, length)
    assert (windows[:, 1:] == windows[:, :-1] + 1).all()
    assert (windows[1:, 0] > windows[:-1, -1]).all()
    assert windows[0, 0] == 0
    # Even distances: nothing longer than one stride is left at the end.
    stride = tokens.numel() // count
    assert tokens.numel() - windows[-1, 0] < stride + count


@given(st.integers(1, 4), st.integers(0, 9), st.integers(1, 20))
def test_texts_take_turns_and_each_is_spread(texts, more, length):
    count = texts + more
    tokens = [torch.arange(count * length) + 10_000 * number for number in range(texts)]
    windows = mixed_windows(tokens, length, count)
    assert windows.shape == (count, length)
    assert (windows[:, 0] // 10_000).tolist() == [i % texts for i in range(count)]
    for number, text in enumerate(tokens):
        own = windows[number::texts]
        assert torch.equal(own, spread_windows(text, length, len(own)))


def test_every_text_needs_a_window():
    with pytest.raises(UserError, match="1 windows are too few for 2 texts"):
        mixed_windows([torch.arange(9)] * 2, 3, 1)
