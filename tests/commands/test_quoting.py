"""Formulas as shells hand them over."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pruner_zero.commands.quoting import override_value, quote_formulas


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


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("mul(W, sqrt(X))", "mul(W,sqrt(X))"),
        ("mul(W, G)@model", "mul(W,G)@model"),
        ("runs/my run", "'runs/my run'"),
        ("it's, [so]", r"'it\'s, [so]'"),
        (["a b.txt", "c.txt"], "['a b.txt',c.txt]"),
        (None, "null"),
        (False, "false"),
        (1, "1"),
        (0.05, "0.05"),
        ("", "''"),
    ],
)
def test_values_are_read_as_they_are_written(value, written):
    assert override_value(value) == written
    parser = OverridesParser.create()
    (read,) = parser.parse_overrides([quote_formulas(f"key={written}")])
    found = read.value()
    found = [str(one) for one in found] if isinstance(found, list) else found
    tight = written.replace(" ", "")
    assert (str(found) if isinstance(value, str) else found) in (value, tight)
