"""Simplification: one property per rule, and what each mode promises on random trees."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.metric.facts import extent, is_non_negative, is_within_one
from pruner_zero.metric.parser import parse_expression
from pruner_zero.metric.rules import EXACT_RULES, OOS_RULES
from pruner_zero.metric.simplify import simplify
from tests.strategies import expressions


def _tensors(seed: int, rows: int = 4, columns: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 + 0.01

    return {"W": draw(rows, columns), "G": draw(rows, columns), "X": draw(1, columns)}


def _largest_intermediate(tree, values) -> float:
    return max(Metric(node).score(**values).abs().max().item() for node in tree.nodes())


@pytest.mark.parametrize("rule", OOS_RULES + EXACT_RULES, ids=lambda rule: rule.name)
def test_each_rule_does_what_its_example_says(rule):
    before, after = (parse_expression(side) for side in rule.example.split(" -> "))
    assert rule.rewrite(before) == after
    assert rule.rewrite(after) is None


@pytest.mark.parametrize("rule", EXACT_RULES, ids=lambda rule: rule.name)
@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_each_exact_rule_keeps_the_value(rule, seed):
    before, after = (parse_expression(side) for side in rule.example.split(" -> "))
    values = _tensors(seed)
    torch.testing.assert_close(Metric(before).score(**values), Metric(after).score(**values))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("exp(log(W))", "W"),
        ("log(exp(W))", "W"),
        ("sqr(sqrt(W))", "W"),
        ("sqrt(pow(neg(neg(W))))", "W"),
        ("add(sub(W, G), G)", "W"),
        ("add(G, sub(W, G))", "W"),
        ("div(mul(G, W), G)", "W"),
        ("skp(mul(skp(W), G))", "mul(W, G)"),
        ("mul(W, div(exp(log(G)), W))", "G"),
        ("sub(W, add(W, G))", "sub(W, add(W, G))"),
    ],
)
def test_oos_cancels_opposing_pairs(before, after):
    assert str(Metric.parse(before).simplified("oos")) == after


@pytest.mark.parametrize(
    ("before", "scope", "after"),
    [
        ("log(sqrt(W))", "model", "W"),
        ("mms(mul(W, G))", "row", "mul(G, W)"),
        ("mms(mul(W, G))", "layer", "mul(G, W)"),
        ("mms(mul(W, G))", "model", "mms(mul(G, W))"),
        ("div(mul(W, G), X)", "row", "mul(G, W)"),
        ("div(mul(W, G), X)", "block", "div(mul(G, W), X)"),
        ("mul(div(W, X), sqrt(G))", "row", "mul(sqrt(G), W)"),
        ("neg(log(W))", "row", "neg(W)"),
        ("neg(neg(neg(sqrt(W))))", "row", "neg(W)"),
        ("tanh(W)", "row", "tanh(W)"),
        ("tanh(mms(W))", "row", "W"),
        ("exp(neg(mms(W)))", "row", "neg(W)"),
        ("exp(log(sub(W, G)))", "row", "abs(sub(W, G))"),
        ("add(W, W)", "model", "W"),
        ("add(W, 2.0)", "model", "W"),
        ("mul(3.0, W)", "model", "W"),
        ("mul(-3.0, W)", "row", "mul(-3.0, W)"),
        ("add(W, rowmean(W))", "row", "W"),
        ("add(W, rowmean(W))", "layer", "add(rowmean(W), W)"),
        ("mul(sqr(W), sqr(G))", "model", "mul(G, W)"),
        ("mul(sqrt(X), W)", "row", "mul(sqrt(X), W)"),
        ("add(div(W, X), G)", "row", "add(div(W, X), G)"),
    ],
)
def test_rank_form(before, scope, after):
    assert str(Metric.parse(before).simplified("rank", scope)) == after


@given(expressions(max_leaves=10), st.integers(0, 999))
@settings(max_examples=300)
def test_exact_never_changes_the_score(tree, seed):
    values = _tensors(seed)
    before = Metric(tree).score(**values)
    scale = _largest_intermediate(tree, values)
    # Beyond this, one rounding error of an intermediate is visible in the result.
    assume(torch.isfinite(before).all() and scale < 1e6)
    spread = min(
        (Metric(n.children[0]).score(**values).std().item() for n in tree.nodes()
         if n.label in ("mms", "zsn")),
        default=1.0,
    )  # fmt: skip
    assume(spread > 1e-3)
    after = Metric(simplify(tree, "exact")).score(**values)
    torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-7 * max(scale, 1.0))


def _lowest_set_violation(original: torch.Tensor, simplified: torch.Tensor, count: int) -> float:
    """How far the lowest ``count`` by the simplified score are from lowest by the original."""
    order = torch.argsort(simplified, dim=1, stable=True)
    ranked = original.gather(1, order)
    return (ranked[:, :count].amax(1) - ranked[:, count:].amin(1)).max().item()


@given(expressions(max_leaves=10), st.integers(0, 999), st.sampled_from(["row", "layer"]))
@settings(max_examples=400)
def test_rank_never_changes_the_masks(tree, seed, scope):
    values = _tensors(seed)
    original = Metric(tree).score(**values)
    scale = _largest_intermediate(tree, values)
    assume(torch.isfinite(original).all() and scale < 1e6)
    simplified = Metric(simplify(tree, "rank", scope)).score(**values)
    if scope == "layer":
        original, simplified = original.reshape(1, -1), simplified.reshape(1, -1)
    # At every possible ratio the pruned set must be a lowest set of the original score, up to
    # roundings that tie in the original.
    for count in range(1, original.shape[1]):
        assert _lowest_set_violation(original, simplified, count) <= 1e-9 * max(scale, 1.0)


@given(expressions(max_leaves=8), st.integers(0, 999))
@settings(max_examples=200)
def test_rank_over_the_model_respects_layers_of_other_scale(tree, seed):
    layers = [_tensors(seed), {k: v * 7 for k, v in _tensors(seed + 1).items()}]
    originals = [Metric(tree).score(**values) for values in layers]
    scale = max(_largest_intermediate(tree, values) for values in layers)
    assume(all(torch.isfinite(o).all() for o in originals) and scale < 1e6)
    rank = Metric(simplify(tree, "rank", "model"))
    original = torch.cat([o.reshape(1, -1) for o in originals], 1)
    simplified = torch.cat([rank.score(**values).reshape(1, -1) for values in layers], 1)
    for count in range(1, original.shape[1]):
        assert _lowest_set_violation(original, simplified, count) <= 1e-9 * max(scale, 1.0)


@given(expressions("extended", max_leaves=12, constants=True))
def test_simplification_is_idempotent_and_never_grows(tree):
    for mode in ("none", "oos", "exact", "rank"):
        once = simplify(tree, mode)
        assert simplify(once, mode) == once
        assert once.size <= tree.size


@given(expressions("extended", max_leaves=8), st.integers(0, 99))
def test_facts_hold(tree, seed):
    values = _tensors(seed)
    score = Metric(tree).score(**values)
    assume(torch.isfinite(score).all())
    if is_non_negative(tree):
        assert (score >= 0).all()
    if is_within_one(tree):
        assert (score.abs() <= 1 + 1e-12).all()
    if not extent(tree).columns:
        torch.testing.assert_close(score, score[:, :1].expand_as(score))
    if not extent(tree).rows:
        torch.testing.assert_close(score, score[:1].expand_as(score))


def test_unknown_mode():
    with pytest.raises(UserError, match="did you mean 'rank'"):
        simplify(parse_expression("W"), "ranks")
