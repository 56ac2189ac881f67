"""Metrics in other words."""

from __future__ import annotations

import pytest

from pruner_zero import Metric
from pruner_zero.__main__ import main
from pruner_zero.commands.methods import published_equals, resolve_method_argument
from pruner_zero.errors import UserError


@pytest.mark.parametrize(
    ("formula", "scope", "names"),
    [
        ("mul(sqrt(X), W)", "row", ["wanda"]),
        ("mul(sqr(mul(W, G)), 3)", "layer", ["gradient"]),
        ("ratio(W, rowsum(W))", "row", ["magnitude"]),
        ("ratio(W, rowsum(W))", "layer", []),
        ("mul(X, G)", "row", []),
    ],
)
def test_published_metrics_in_other_words(formula, scope, names):
    assert published_equals(Metric.parse(formula), scope) == names


def test_a_formula_longer_than_a_file_name_is_a_formula():
    formula = f"mul(W, {'abs(' * 60}add(G, W){')' * 60})"
    assert len(formula) > 255
    assert str(resolve_method_argument(formula).metric) == formula


def test_show_says_it(capsys):
    assert main(["show", "metric=mul(sqrt(X),W)"]) == 0
    assert "prunes as wanda: the order of weights is the same by row" in capsys.readouterr().out
    assert main(["show", "metric=wanda"]) == 0
    assert "prunes as" not in capsys.readouterr().out


def test_a_folder_of_a_methods_name_is_not_the_method(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("wanda", "W"):
        (tmp_path / name).mkdir()
        assert resolve_method_argument(name).metric is not None
        with pytest.raises(UserError, match="holds no metric"):
            resolve_method_argument(f"./{name}")
