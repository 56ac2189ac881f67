"""Formulas as shells hand them over."""

from __future__ import annotations

import pytest

from pruner_zero.commands.quoting import quote_formulas


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("metric=mul(W,G)", "metric='mul(W,G)'"),
        ("metric=mul(W, sqrt(X))@model", "metric='mul(W, sqrt(X))@model'"),
        ("methods=[wanda,mul(W,G)+obs,ria]", "methods=[wanda,'mul(W,G)+obs',ria]"),
        ("methods=[mul(W,G)@model,W]", "methods=['mul(W,G)@model',W]"),
        ("methods=[sqr(W),sqrt(G)@block]", "methods=['sqr(W)','sqrt(G)@block']"),
        ("metric='mul(W,G)'", "metric='mul(W,G)'"),
        ('methods=["mul(W,G)",neg(W)]', "methods=[\"mul(W,G)\",'neg(W)']"),
        ("metric=cube(W)", "metric='cube(W)'"),
        ("seed=range(1,4)", "seed=range(1,4)"),
        ("seed=choice(1,2)", "seed=choice(1,2)"),
        ("metric=mul(W", "metric=mul(W"),
        ("corpus.files=[summul(W).txt]", "corpus.files=[summul(W).txt]"),
    ],
)
def test_bare_formulas_are_quoted_and_nothing_else(given, expected):
    assert quote_formulas(given) == expected
