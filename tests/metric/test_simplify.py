"""Simplification: one property per rule, and what each mode promises on random trees."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pruner_zero.errors import UserError
from pruner_zero.metric import TERMINALS, Metric
from pruner_zero.metric.facts import extent, is_non_negative, is_within_one
from pruner_zero.metric.parser import parse_expression
from pruner_zero.metric.rules import EXACT_RULES, OOS_RULES
from pruner_zero.metric.simplify import simplify
from tests.strategies import expressions


def _tensors(seed: int, rows: int = 4, columns: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, terminal in TERMINALS.items():
        shape = terminal.shape(rows, columns)
        values[name] = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 + 0.01
    values["D"] /= 2.01
    return values


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
        # Powers by a number.
        ("power(W, 0.7)", "model", "W"),
        ("power(sub(W, G), 3.0)", "row", "abs(sub(W, G))"),
        ("power(mul(W, G), -0.7)", "model", "neg(mul(G, W))"),
        ("power(W, 0.0)", "row", "power(W, 0.0)"),
        ("power(W, G)", "row", "power(W, G)"),
        ("mul(power(mul(2.0, W), 0.7), G)", "model", "mul(power(W, 0.7), G)"),
        ("mul(power(mul(2.0, W), -0.7), G)", "row", "mul(power(mul(2.0, W), -0.7), G)"),
        # One non-negative number per group.
        ("ratio(W, rowrms(G))", "row", "W"),
        ("ratio(W, rowrms(G))", "layer", "ratio(W, rowrms(G))"),
        ("ratio(W, layerrms(G))", "layer", "W"),
        ("ratio(W, layerrms(G))", "block", "ratio(W, layerrms(G))"),
        ("ratio(W, layerrms(G))", "model", "ratio(W, layerrms(G))"),
        ("ratio(W, colrms(G))", "row", "ratio(W, colrms(G))"),
        ("ratio(W, 3.0)", "model", "W"),
        ("ratio(W, -3.0)", "row", "ratio(W, -3.0)"),
        ("ratio(W, sub(R, rowmean(W)))", "row", "ratio(W, sub(R, rowmean(W)))"),
        ("ratio(W, mul(X, rowmean(W)))", "row", "ratio(W, mul(rowmean(W), X))"),
        ("ratio(2.0, add(W, G))", "model", "neg(add(G, W))"),
        ("ratio(rowmax(G), mul(W, X))", "row", "neg(mul(W, X))"),
        ("mul(W, R)", "row", "W"),
        ("mul(W, R)", "layer", "mul(R, W)"),
        ("mul(W, log(R))", "row", "mul(log(R), W)"),
        ("mul(mul(W, rowmax(G)), X)", "row", "mul(W, X)"),
        ("mul(W, 0.0)", "row", "mul(0.0, W)"),
        ("add(mul(W, R), G)", "row", "add(mul(R, W), G)"),
        ("mul(W, power(D, 2.5))", "block", "W"),
        ("mul(W, power(D, 2.5))", "model", "mul(power(D, 2.5), W)"),
        ("mul(W, mul(D, layermean(W)))", "block", "mul(layermean(W), W)"),
        ("sub(rowmean(W), G)", "row", "neg(G)"),
        ("sub(D, sub(W, G))", "block", "sub(G, W)"),
    ],
)
def test_rank_form(before, scope, after):
    assert str(Metric.parse(before).simplified("rank", scope)) == after


SPACES = st.one_of(
    expressions(max_leaves=10),
    expressions("wide", max_leaves=10, constants=True, terminals="wide"),
)


def _well_behaved(tree, values) -> bool:
    """Whether one rounding error of an intermediate stays invisible in the result.

    A vanishing difference does not: a root, a small power or a rescaling makes it visible.
    """
    intermediates = {node: Metric(node).score(**values) for node in tree.nodes()}
    if not all(torch.isfinite(v).all() and v.abs().max() < 1e6 for v in intermediates.values()):
        return False
    for node, value in intermediates.items():
        if node.label in ("mms", "zsn") and intermediates[node.children[0]].std() < 1e-3:
            return False
        if node.label in ("add", "sub", "layermean") and value.abs().min() < 1e-6:
            return False
        if node.label in ("rowsum", "rowmean", "colsum", "colmean") and value.abs().min() < 1e-6:
            return False
    return True


@given(SPACES, st.integers(0, 999))
@settings(max_examples=400)
def test_exact_never_changes_the_score(tree, seed):
    values = _tensors(seed)
    assume(_well_behaved(tree, values))
    before = Metric(tree).score(**values)
    after = Metric(simplify(tree, "exact")).score(**values)
    scale = max(_largest_intermediate(tree, values), 1.0)
    torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-7 * scale)


def _lowest_set_violation(original: torch.Tensor, simplified: torch.Tensor, count: int) -> float:
    """How far the lowest ``count`` by the simplified score are from lowest by the original."""
    order = torch.argsort(simplified, dim=1, stable=True)
    ranked = original.gather(1, order)
    return (ranked[:, :count].amax(1) - ranked[:, count:].amin(1)).max().item()


def _model(seed: int, dead: bool) -> list[list[dict[str, torch.Tensor]]]:
    """Terminals of two blocks with two layers each, of different scale."""
    blocks = []
    for block in range(2):
        layers = [_tensors(seed + 2 * block + place) for place in range(2)]
        for place, values in enumerate(layers):
            values.update({name: v * (1 + 3 * place + 7 * block) for name, v in values.items()})
            values["D"] = torch.full((1, 1), (block + 1) / 2, dtype=torch.float64)
            if dead:
                values["G"][1] = values["W"][2] = values["R"][1] = 0.0
                for name in "XMV":
                    values[name][:, 3] = 0.0
        blocks.append(layers)
    return blocks


def _groups(metric: Metric, blocks, scope: str) -> list[torch.Tensor]:
    """Scores of every comparison group, [groups, weights that compete]."""
    layers = [[metric.score(**values) for values in block] for block in blocks]
    if scope == "row":
        return [scores for block in layers for scores in block]
    if scope == "layer":
        return [scores.reshape(1, -1) for block in layers for scores in block]
    flat = [torch.cat([scores.reshape(1, -1) for scores in block], 1) for block in layers]
    return flat if scope == "block" else [torch.cat(flat, 1)]


@given(SPACES, st.integers(0, 999), st.sampled_from(["row", "layer", "block", "model"]),
       st.booleans())  # fmt: skip
@settings(max_examples=800)
def test_rank_never_changes_the_masks(tree, seed, scope, dead):
    blocks = _model(seed, dead)
    assume(all(_well_behaved(tree, values) for block in blocks for values in block))
    originals = _groups(Metric(tree), blocks, scope)
    simplified = _groups(Metric(simplify(tree, "rank", scope)), blocks, scope)
    scale = max(_largest_intermediate(tree, values) for block in blocks for values in block)
    # At every possible ratio the pruned set must be a lowest set of the original score, up to
    # roundings that tie in the original.
    for original, after in zip(originals, simplified, strict=True):
        for count in range(1, original.shape[1]):
            assert _lowest_set_violation(original, after, count) <= 1e-9 * max(scale, 1.0)


@given(
    expressions("wide", max_leaves=12, constants=True, terminals="wide"),
    st.sampled_from(["row", "layer", "block", "model"]),
)
def test_simplification_is_idempotent_and_never_grows(tree, scope):
    for mode in ("none", "oos", "exact", "rank"):
        once = simplify(tree, mode, scope)
        assert simplify(once, mode, scope) == once
        assert once.size <= tree.size


@given(expressions("wide", constants=True, terminals="wide"), st.integers(0, 99))
@settings(max_examples=200)
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
