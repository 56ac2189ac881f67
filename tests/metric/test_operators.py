"""The tables: every operator by value, the sets, the terminals."""

from __future__ import annotations

import math

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.metric import OPERATORS, operator_set, terminal_set

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
