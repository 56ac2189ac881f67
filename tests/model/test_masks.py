from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pruner_zero.errors import UserError
from pruner_zero.model.digest import MaskDigest, mask_digest
from pruner_zero.model.masks import (
    InvalidScores,
    ScoreRoom,
    flat_mask,
    layer_mask,
    nofm_mask,
    prune_masks,
    row_mask,
)
from pruner_zero.model.radix import kth_lowest
from pruner_zero.model.sparsity import NofM, Unstructured

from .conftest import linear_layer

# Few distinct values, so that ties are the rule; both zeros; wide exponents; negatives.
VALUES = st.sampled_from([0.0, -0.0, 1.0, 1.5, -1.0, 2.0**-140, -(2.0**-140), 3e38, -3e38, 1e-8])
ANY = st.one_of(VALUES, st.floats(width=32, allow_nan=False, allow_infinity=False))


def matrices(columns: int = 8):
    shape = st.tuples(st.integers(1, 5), st.just(columns))
    return shape.flatmap(lambda s: hnp.arrays(np.float32, s, elements=ANY)).map(torch.from_numpy)


def first_k(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The naive reference: a stable ascending sort of one dimension, first k marked."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[torch.sort(scores.flatten() + 0.0, stable=True).indices[:k]] = True
    return mask.reshape(scores.shape)


@given(matrices(), st.integers(0, 8))
def test_rows_agree_with_a_stable_sort(scores, k):
    expected = torch.stack([first_k(row, k) for row in scores])
    assert row_mask(scores, k).equal(expected)


@given(matrices(), st.floats(0, 1))
def test_flat_agrees_with_a_stable_sort(scores, share):
    k = int(scores.numel() * share)
    assert flat_mask(scores, k).equal(first_k(scores, k))


@given(matrices(24), st.sampled_from([(1, 2), (1, 3), (2, 4), (4, 8), (3, 4), (5, 6), (7, 12)]))
def test_groups_agree_with_a_stable_sort(scores, pattern):
    n, m = pattern
    expected = torch.stack([first_k(group, n) for group in scores.reshape(-1, m)])
    assert nofm_mask(scores, n, m).equal(expected.reshape(scores.shape))


@settings(deadline=None, max_examples=60)
@given(st.lists(matrices(), min_size=1, max_size=5), st.floats(0.02, 0.98))
def test_kth_value_of_a_stream_is_exact(tensors, share):
    joined = torch.cat([tensor.flatten() for tensor in tensors]) + 0.0
    k = max(1, int(joined.numel() * share))
    kth = kth_lowest(lambda: tensors, k)
    assert kth.value == float(joined.sort().values[k - 1])
    assert kth.below == int((joined < kth.value).sum())


@settings(deadline=None, max_examples=60)
@given(
    st.lists(matrices(), min_size=4, max_size=4),
    st.floats(0.02, 0.98),
    st.sampled_from(["row", "layer", "block", "model"]),
    st.sampled_from([None, 0, 300, 1 << 20]),
)
def test_every_scope_agrees_with_a_stable_sort(tensors, ratio, scope, memory):
    room = None if memory is None else ScoreRoom(memory)
    tensors = [tensor if tensor.min() < tensor.max() else _spread(tensor) for tensor in tensors]
    layers = [linear_layer(t, f"l{i}", block=i // 2) for i, t in enumerate(tensors)]
    table = {layer.name: tensor for layer, tensor in zip(layers, tensors, strict=True)}
    masks = {
        layer.name: mask
        for layer, mask in prune_masks(
            layers, lambda x: table[x.name], Unstructured(ratio, scope), room
        )
    }
    groups = {
        "row": [[(layer.name, row)] for layer in layers for row in range(layer.shape[0])],
        "layer": [[(layer.name, slice(None))] for layer in layers],
        "block": [[(x.name, slice(None)) for x in layers[i : i + 2]] for i in (0, 2)],
        "model": [[(x.name, slice(None)) for x in layers]],
    }[scope]
    for group in groups:
        scores = torch.cat([table[name][rows].flatten() for name, rows in group])
        mask = torch.cat([masks[name][rows].flatten() for name, rows in group])
        assert int(mask.sum()) == int(len(scores) * ratio)
        assert mask.equal(first_k(scores, int(len(scores) * ratio)))


def test_scores_are_computed_once_when_there_is_room_for_them():
    calls: list[str] = []

    def score(layer):
        calls.append(layer.short_name)
        return layer.weight

    layers = [linear_layer(HAND, "a"), linear_layer(HAND + 1, "b", block=1)]
    pattern = Unstructured(0.5, "model")
    expected = [mask for _, mask in prune_masks(layers, score, pattern)]
    assert calls == ["a", "b"] * 3
    room = ScoreRoom(2 * 32 * 4)
    for _ in range(2):
        calls.clear()
        got = [mask for _, mask in prune_masks(layers, score, pattern, room)]
        assert calls == ["a", "b"]
        assert all(a.equal(b) for a, b in zip(got, expected, strict=True))
    narrow = ScoreRoom(2 * 32 * 4 - 1)
    calls.clear()
    list(prune_masks(layers, score, pattern, narrow))
    assert calls == ["a", "b"] * 3


def _spread(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone()
    tensor[0, 0] = 5.0 if tensor[0, 0] != 5.0 else 6.0
    return tensor


# A 4×8 layer worked out by hand. Row 0 ascends, row 1 ties in pairs, row 2 is two values, row 3
# is all one value, so that the tie rule alone decides it.
HAND = torch.tensor(
    [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [4, 4, 3, 3, 2, 2, 1, 1],
        [9, 0, 9, 0, 9, 0, 9, 0],
        [5, 5, 5, 5, 5, 5, 5, 5],
    ],
    dtype=torch.float32,
)


def bits(*rows: str) -> torch.Tensor:
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (Unstructured(0.5), bits("xxxx....", "....xxxx", ".x.x.x.x", "xxxx....")),
        # int(8 · 0.3) = 2 per row.
        (Unstructured(0.3), bits("xx......", "......xx", ".x.x....", "xx......")),
        # int(8 · 0.7) = 5: row 1 takes the first of its two threes, row 2 the first nine.
        (Unstructured(0.7), bits("xxxxx...", "..x.xxxx", "xx.x.x.x", "xxxxx...")),
        # 16 of 32: four 0, three 1, three 2, three 3, and three 4 (the first in row-major order).
        (Unstructured(0.5, "layer"), bits("xxxx....", "xxxxxxxx", ".x.x.x.x", "........")),
        # 12 of 32: ten are below 3, then the 3 of row 0 and the first 3 of row 1.
        (Unstructured(0.375, "layer"), bits("xxx.....", "..x.xxxx", ".x.x.x.x", "........")),
        (NofM(2, 4), bits("xx..xx..", "..xx..xx", ".x.x.x.x", "xx..xx..")),
        (NofM(1, 4), bits("x...x...", "..x...x.", ".x...x..", "x...x...")),
        (NofM(4, 8), bits("xxxx....", "....xxxx", ".x.x.x.x", "xxxx....")),
        (NofM(3, 8), bits("xxx.....", "....x.xx", ".x.x.x..", "xxx.....")),
    ],
)
def test_by_hand(pattern, expected):
    assert layer_mask(HAND, pattern).equal(expected)
    ((_, mask),) = prune_masks([linear_layer(HAND)], lambda layer: layer.weight, pattern)
    assert mask.equal(expected)


def test_model_scope_gives_ties_to_the_earlier_layer():
    ones = torch.ones(2, 4)
    ones[0, 0] = 0
    layers = [linear_layer(ones, "a"), linear_layer(ones, "b", block=1)]
    masks = [m for _, m in prune_masks(layers, lambda x: x.weight, Unstructured(0.5, "model"))]
    # 8 of 16: both zeros, then six ones of the first layer.
    assert masks[0].equal(bits("xxxx", "xxx."))
    assert masks[1].equal(bits("x...", "...."))


@pytest.mark.parametrize(
    "pattern",
    [Unstructured(0.5), Unstructured(0.5, "block"), Unstructured(0.5, "model"), NofM(2, 4)],
)
@pytest.mark.parametrize(
    ("value", "reason"), [("nan", "NaN"), ("inf", "Inf"), ("-inf", "Inf"), (None, "constant")]
)
def test_degenerate_scores_name_layer_and_reason(pattern, value, reason):
    bad = torch.ones(4, 8) if value is None else HAND.clone()
    if value is not None:
        bad[2, 3] = float(value)
    layers = [linear_layer(HAND, "good"), linear_layer(bad, "bad")]
    with pytest.raises(InvalidScores, match="bad") as caught:
        list(prune_masks(layers, lambda layer: layer.weight, pattern))
    assert caught.value.reason == reason
    assert caught.value.layer == "model.layers.0.bad"


def test_both_zeros_are_one_constant():
    zeros = torch.zeros(2, 4)
    zeros[0] = -0.0
    with pytest.raises(InvalidScores, match="constant"):
        list(prune_masks([linear_layer(zeros)], lambda x: x.weight, Unstructured(0.5)))


def test_a_pattern_that_does_not_fit_fails_before_any_scoring():
    def never(layer):
        raise AssertionError("scored before the check")

    with pytest.raises(UserError, match="multiple of 3"):
        next(prune_masks([linear_layer(HAND)], never, NofM(1, 3)))


def test_scores_of_another_shape_are_refused():
    with pytest.raises(UserError, match="shape"):
        list(prune_masks([linear_layer(HAND)], lambda x: x.weight[:, :4], Unstructured(0.5)))


def test_digest_tells_masks_layers_and_order_apart():
    a, b = (linear_layer(HAND, name) for name in "ab")
    mask = row_mask(HAND, 4)
    other = mask.clone()
    other[3, 7] = ~other[3, 7]
    digests = {
        mask_digest([(a, mask), (b, other)]),
        mask_digest([(a, other), (b, mask)]),
        mask_digest([(b, other), (a, mask)]),
        mask_digest([(a, mask)]),
    }
    assert len(digests) == 4
    streamed = MaskDigest()
    streamed.update(a.name, mask)
    streamed.update(b.name, other)
    assert streamed.hexdigest() == mask_digest([(a, mask.clone()), (b, other.clone())])
