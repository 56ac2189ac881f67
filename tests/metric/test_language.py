"""The language: text and JSON round trips, errors with a place, scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.errors import UserError
from pruner_zero.metric import (
    OPERATORS,
    Expression,
    Metric,
    library,
)
from pruner_zero.metric.evaluate import evaluate
from pruner_zero.metric.library import DISCOVERED, PUBLISHED
from tests.strategies import expressions


@given(expressions("wide", constants=True, terminals="wide"))
def test_text_and_json_round_trip(tree):
    metric = Metric(tree)
    assert Metric.parse(str(metric)) == metric
    assert Metric.from_json(json.loads(json.dumps(metric.to_json()))) == metric
    assert hash(Metric.parse(str(metric))) == hash(metric)
    assert metric.latex()


def test_public_tree_file(tmp_path):
    path = tmp_path / "best_tree.json"
    metric = Metric.named("pruner-zero")
    metric.to_json(path)
    mul_ww = {"data": "mul", "left": {"data": "W"}, "right": {"data": "W"}}
    assert json.loads(path.read_text()) == {
        "data": "mul",
        "left": {"data": "abs", "left": mul_ww},
        "right": {"data": "mms", "left": {"data": "G"}},
    }
    assert Metric.from_json(path) == metric == Metric.parse("mul(abs(mul(W, W)), mms(G))")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mul(W, sqt(X))",
            "position 8 found 'sqt', expected an operator or terminal; did you mean 's",
        ),
        ("mul(W", "position 6 found the end, expected ','"),
        ("mul(W, G", "position 9 found the end, expected ')'"),
        ("mul(W, G, X)", "position 9 found ',', expected ')' ('mul' takes 2 argument(s))"),
        ("mul W", "position 5 found 'W', expected '('"),
        ("W W", "position 3 found 'W', expected the end"),
        ("", "position 1 found the end, expected an operator"),
        ("__import__('os')", "found '__import__'"),
        ("neg(1e99)", "found '1e99', expected a finite number"),
        ("neg(" * 70 + "W" + ")" * 70, "too large"),
        ("(" * 100000, "position 1 found '('"),
    ],
)
def test_text_errors_name_position_and_expectation(text, message):
    with pytest.raises(UserError) as error:
        Metric.parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {"data": "mull", "left": {"data": "W"}},
            "unknown label 'mull' at root: did you mean 'mul'",
        ),
        ({"data": "mul", "left": {"data": "W"}}, "'mul' at root needs 'left' and 'right'"),
        (
            {"data": "neg", "left": {"data": "W", "left": {"data": "W"}}},
            "'W' at root.left needs no",
        ),
        ({"data": "neg", "left": {}}, "no 'data' label at root.left"),
    ],
)
def test_tree_errors_name_the_path(tree, message):
    with pytest.raises(UserError, match="metric tree") as error:
        Metric.from_json(tree)
    assert message in str(error.value)


def test_deep_tree_files_are_refused(tmp_path):
    path = tmp_path / "deep.json"
    for levels in (100, 200_000):
        path.write_text('{"data": "neg", "left": ' * levels + '{"data": "W"}' + "}" * levels)
        with pytest.raises(UserError, match=r"too large|too deep"):
            Metric.from_json(path)
    path.write_text("nonsense")
    with pytest.raises(UserError, match=r"not valid JSON"):
        Metric.from_json(path)
    with pytest.raises(UserError, match="cannot read"):
        Metric.from_json(tmp_path / "absent.json")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'wanda'"):
        Metric.named("wnda")


def test_known_metrics_against_their_formulas():
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(4, 8, generator=generator)
    G = torch.rand(4, 8, generator=generator)
    X = torch.rand(1, 8, generator=generator)
    a = W.abs()
    expected = {
        "magnitude": a,
        "wanda": a * X.sqrt(),
        "gradient": a * G,
        "gblm": a * X.sqrt() + a * G,
        "ria": (a / a.sum(1, keepdim=True) + a / a.sum(0, keepdim=True)) * X.sqrt() ** 0.5,
        "pruner-zero": (a * a) * (G - G.min()) / (G.max() - G.min()),
    }
    assert set(expected) == set(PUBLISHED)
    for name, score in expected.items():
        torch.testing.assert_close(Metric.named(name).score(W, G, X), score)
    assert Metric.named("wanda").terminals == {"W", "X"}


def test_score_takes_half_precision_and_reports_missing_statistics():
    W = torch.randn(4, 8, dtype=torch.bfloat16)
    score = Metric.parse("sqrt(X)").score(W, X=torch.ones(8))
    assert score.dtype == torch.float32
    assert score.shape == (4, 8)
    with pytest.raises(UserError, match="needs X"):
        Metric.named("wanda").score(W)
    wide = Metric.parse("mul(ratio(sqr(W), H), power(D, 0.5))")
    assert wide.terminals == {"W", "H", "D"}
    with pytest.raises(UserError, match="needs H: measure statistics"):
        wide.score(W, D=torch.ones(1, 1))
    with pytest.raises(UserError, match="no terminal is called 'Q'"):
        wide.score(W, Q=torch.ones(1, 1))


def test_one_number_per_input_may_lack_its_axis():
    W, X, H = torch.randn(4, 8), torch.rand(8), torch.rand(8)
    for formula in ("mul(W, colsum(X))", "ratio(sqr(W), mul(H, X))"):
        metric = Metric.parse(formula)
        whole = metric.score(W, X=X[None], H=H[None])
        torch.testing.assert_close(metric.score(W, X=X, H=H), whole, rtol=0, atol=0)


def test_further_terminals_go_by_name():
    W, R, H = torch.randn(4, 8), torch.rand(4, 1), torch.rand(1, 8)
    D = torch.full((1, 1), 0.25)
    score = Metric.parse("mul(mul(ratio(sqr(W), H), R), power(D, 0.5))").score(W, H=H, R=R, D=D)
    torch.testing.assert_close(score, W**2 / H * R / 2)
    assert Metric.parse("power(add(W, R), -0.5)").latex() == (
        "\\left||W| + \\overline{\\|\\partial y\\|^2}\\right|^{-0.5}"
    )


@pytest.mark.parametrize(
    ("formula", "latex"),
    [
        ("sqrt(G)", "\\sqrt{|G|}"),  # a terminal is never negative: no second bars
        ("abs(W)", "|W|"),
        ("sqrt(neg(G))", "\\sqrt{\\left|-|G|\\right|}"),
        ("sqr(V)", "\\left(\\sigma_x^2\\right)^2"),  # LaTeX refuses two exponents in a row
        ("power(V, 0.5)", "\\left(\\sigma_x^2\\right)^{0.5}"),
        ("power(W, 0.5)", "|W|^{0.5}"),
        ("mul(rowsum(W), G)", "\\left(\\textstyle\\sum_{\\mathrm{row}} |W|\\right) \\cdot |G|"),
        ("rowsum(mul(W, G))", "\\textstyle\\sum_{\\mathrm{row}} |W| \\cdot |G|"),
        ("sqr(ratio(W, G))", "\\left(\\frac{|W|}{|G|}\\right)^2"),
        ("sqr(1e-66)", "\\left(1 \\cdot 10^{-66}\\right)^2"),
        ("mul(W, 1e-05)", "|W| \\cdot 1 \\cdot 10^{-5}"),
    ],
)
def test_latex_of_terminals_under_bars_and_powers(formula, latex):
    assert Metric.parse(formula).latex() == latex


def _naive(tree: Expression, values: dict) -> torch.Tensor:
    if tree.label in values:
        return values[tree.label]
    if tree.is_constant:
        return torch.tensor(float(tree.label))
    return OPERATORS[tree.label].function(*(_naive(child, values) for child in tree.children))


@given(expressions("wide", max_leaves=12, constants=True), st.integers(0, 99))
def test_shared_evaluation_equals_the_naive_one(tree, seed):
    generator = torch.Generator().manual_seed(seed)
    values = {
        "W": torch.rand(3, 5, generator=generator),
        "G": torch.rand(3, 5, generator=generator),
        "X": torch.rand(1, 5, generator=generator),
    }
    torch.testing.assert_close(
        evaluate(tree, values), _naive(tree, values), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("name", DISCOVERED)
def test_found_metrics_are_complete_and_stand_as_they_were_found(name):
    metric = Metric.named(name)
    assert DISCOVERED[name].scope in ("row", "layer", "block", "model")
    assert metric.simplified("rank", DISCOVERED[name].scope) == metric
    path = Path(library.__file__).with_name("discovered") / f"{name}.json"
    entry = json.loads(path.read_text())
    assert DISCOVERED[name].update == entry.pop("update", "none")
    assert {"formula", "scope", "source", "found", "test_perplexity"} == set(entry)
    for numbers in entry["test_perplexity"].values():
        assert numbers["dense"] < numbers["this"]
