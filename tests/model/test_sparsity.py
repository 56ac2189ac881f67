from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.errors import UserError
from pruner_zero.model.sparsity import NofM, Unstructured, parse_sparsity

from .conftest import linear_layer


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        (0.5, Unstructured(0.5)),
        ("0.5", Unstructured(0.5)),
        (" 0.6 ", Unstructured(0.6)),
        ("2:4", NofM(2, 4)),
        ("4:8", NofM(4, 8)),
        ("1:3", NofM(1, 3)),
    ],
)
def test_parse(value, pattern):
    assert parse_sparsity(value) == pattern


@given(st.floats(min_value=1e-6, max_value=1 - 1e-6))
def test_ratios_round_trip(ratio):
    assert parse_sparsity(str(Unstructured(ratio))) == Unstructured(ratio)


@given(st.integers(2, 64).flatmap(lambda m: st.tuples(st.integers(1, m - 1), st.just(m))))
def test_groups_round_trip(pair):
    assert parse_sparsity(str(NofM(*pair))) == NofM(*pair)


@pytest.mark.parametrize(
    "value",
    ["0", "1", "1.5", "-0.1", "nan", "inf", "half", "", "4:4", "0:4", "5:4", "2:4:8", "2/4"],
)
def test_impossible_sparsities_are_refused(value):
    with pytest.raises(UserError, match="sparsity"):
        parse_sparsity(value)


def test_scopes():
    assert parse_sparsity(0.5, "model").scope == "model"
    with pytest.raises(UserError, match="did you mean 'layer'"):
        parse_sparsity(0.5, "layers")
    with pytest.raises(UserError, match="drop the scope"):
        parse_sparsity("2:4", "row")


def test_a_width_that_does_not_divide_names_the_layer():
    layers = [linear_layer(torch.ones(2, 8), "a"), linear_layer(torch.ones(2, 6), "b")]
    NofM(1, 2).check(layers)
    with pytest.raises(UserError, match=r"model\.layers\.0\.b has 6 inputs.*multiple of 4"):
        NofM(2, 4).check(layers)
