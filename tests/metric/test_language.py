"""The language: operators by value, text and JSON round trips, errors with a place."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.errors import UserError
from pruner_zero.metric import (
    KNOWN_METRICS,
    OPERATORS,
    Expression,
    Metric,
    operator_set,
    terminal_set,
)
from pruner_zero.metric.evaluate import evaluate
from tests.strategies import expressions

X2 = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
Y2 = torch.tensor([[2.0, 0.0], [1.0, 2.0]])

# Worked out by hand from the definitions.
BY_HAND = {
    "add": [[3.0, -2.0], [4.0, 2.5]],
    "sub": [[-1.0, -2.0], [2.0, -1.5]],
    "mul": [[2.0, -0.0], [3.0, 1.0]],
    "div": [[1 / 3, -2 / 3], [1.0, 0.5 / 3]],  # the norm of Y2 is sqrt(4 + 0 + 1 + 4) = 3
    "sqr": [[1.0, 4.0], [9.0, 0.25]],
    "pow": [[1.0, 4.0], [9.0, 0.25]],
    "neg": [[-1.0, 2.0], [-3.0, -0.5]],
    "abs": [[1.0, 2.0], [3.0, 0.5]],
    "log": [[math.log(1.001), math.log(2.001)], [math.log(3.001), math.log(0.501)]],
    "exp": [[math.e, math.exp(-2)], [math.exp(3), math.exp(0.5)]],
    "sqrt": [[1.0, math.sqrt(2)], [math.sqrt(3), math.sqrt(0.5)]],
    "tanh": [[math.tanh(1), math.tanh(-2)], [math.tanh(3), math.tanh(0.5)]],
    "skp": [[1.0, -2.0], [3.0, 0.5]],
    "mms": [[0.6, 0.0], [1.0, 0.5]],
    # mean 0.625; squares of deviations 0.140625, 6.890625, 5.640625, 0.015625; variance 12.6875/3
    "zsn": [[(v - 0.625) / math.sqrt(12.6875 / 3) for v in row] for row in [[1, -2], [3, 0.5]]],
    "ratio": [[0.5, -2.0 / torch.finfo(torch.float32).tiny ** 0.5], [3.0, 0.25]],
    "rowsum": [[-1.0], [3.5]],
    "colsum": [[4.0, -1.5]],
    "rowmean": [[-0.5], [1.75]],
    "colmean": [[2.0, -0.75]],
    "min": [[1.0, -2.0], [1.0, 0.5]],
    "max": [[2.0, 0.0], [3.0, 2.0]],
    "rowrms": [[math.sqrt(5 / 2)], [math.sqrt(9.25 / 2)]],
    "rownorm": [[math.sqrt(5)], [math.sqrt(9.25)]],
    "rowmax": [[1.0], [3.0]],
    "colrms": [[math.sqrt(5), math.sqrt(4.25 / 2)]],
    "colnorm": [[math.sqrt(10), math.sqrt(4.25)]],
    "colmax": [[3.0, 0.5]],
    "layermean": [[0.625]],
    "layerrms": [[math.sqrt(14.25 / 4)]],
    "power": [[1.0, 1.0], [3.0, 0.25]],
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_values_by_hand(name):
    operator = OPERATORS[name]
    value = operator.function(*(X2, Y2)[: operator.arity])
    torch.testing.assert_close(value, torch.tensor(BY_HAND[name]))


def test_paper_set_is_the_public_fifteen():
    assert {operator.name for operator in operator_set("paper")} == {
        *("add", "sub", "mul", "div", "sqr", "pow", "neg", "abs", "log", "exp", "sqrt"),
        *("tanh", "skp", "mms", "zsn"),
    }


def test_wide_set_holds_the_others():
    sets = [[operator.name for operator in operator_set(n)] for n in ("paper", "extended", "wide")]
    assert [len(names) for names in sets] == [15, 22, 31]
    assert sets[1][:15] == sets[0]
    assert sets[2][:22] == sets[1]
    with pytest.raises(UserError, match="did you mean 'wide'"):
        operator_set("wider")


def test_terminal_sets():
    assert [terminal.name for terminal in terminal_set("paper")] == ["W", "G", "X"]
    assert [terminal.name for terminal in terminal_set("wide")] == list("WGXRMVHD")
    shapes = {terminal.name: terminal.shape(3, 5) for terminal in terminal_set("wide")}
    assert shapes["R"] == (3, 1)
    assert shapes["D"] == (1, 1)
    assert shapes["W"] == shapes["G"] == (3, 5)
    assert {shapes[name] for name in "XMVH"} == {(1, 5)}
    with pytest.raises(UserError, match="choose from: paper, wide"):
        terminal_set("all")


@pytest.mark.parametrize("name", [n for n, op in OPERATORS.items() if op.reduces])
@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (3, 1), (1, 1)])
def test_reductions_take_their_argument_as_it_is(name, shape):
    operator = OPERATORS[name]
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    kept = {"row": (shape[0], 1), "column": (1, shape[1]), "layer": (1, 1)}[operator.reduces]
    result = operator.function(values)
    assert result.shape == kept
    if kept == shape:
        torch.testing.assert_close(result, values)
    constant = operator.function(torch.tensor(-2.0))
    assert constant.item() == (2.0 if operator.even else -2.0)


def test_power_is_clamped_and_protected():
    power = OPERATORS["power"].function
    x = torch.tensor([0.0, -2.0, 1e-30])
    torch.testing.assert_close(power(x, torch.tensor(9.0)), torch.tensor([0.0, 16.0, 0.0]))
    torch.testing.assert_close(power(x, torch.tensor(0.5)), x.abs().sqrt())
    torch.testing.assert_close(power(x, torch.tensor(0.0)), torch.ones(3))
    vanishing = power(x, torch.tensor(-4.0))
    limit = torch.finfo(torch.float32).tiny ** -0.5
    torch.testing.assert_close(vanishing, torch.tensor([limit, 1 / 16, limit]))
    assert torch.isfinite(vanishing * vanishing).all()
    reciprocal = OPERATORS["ratio"].function(torch.ones(3), x.abs())
    torch.testing.assert_close(power(x, torch.tensor(-1.0)), reciprocal)
    rows = power(torch.full((2, 1), 3.0), torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(rows, torch.tensor([[3.0, 1 / 3]] * 2))


def test_exp_is_clamped_and_log_protected():
    assert torch.isinf(OPERATORS["exp"].function(torch.tensor([200.0])))  # e^100 > float32
    assert OPERATORS["exp"].function(torch.tensor([200.0], dtype=torch.float64)) == math.exp(100)
    assert OPERATORS["log"].function(torch.zeros(1)).item() == pytest.approx(math.log(0.001))


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
    assert set(expected) == set(KNOWN_METRICS)
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


def test_further_terminals_go_by_name():
    W, R, H = torch.randn(4, 8), torch.rand(4, 1), torch.rand(1, 8)
    D = torch.full((1, 1), 0.25)
    score = Metric.parse("mul(mul(ratio(sqr(W), H), R), power(D, 0.5))").score(W, H=H, R=R, D=D)
    torch.testing.assert_close(score, W**2 / H * R / 2)
    assert Metric.parse("power(add(W, R), -0.5)").latex() == (
        "\\left||W| + \\overline{\\|\\partial y\\|^2}\\right|^{-0.5}"
    )


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
