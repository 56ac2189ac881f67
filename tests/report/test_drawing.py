"""Formulas as MathML and trees as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from itertools import pairwise

import pytest
from hypothesis import given

from pruner_zero.metric import OPERATORS, Metric
from pruner_zero.report.drawing import mathml, tree_svg
from tests.strategies import expressions


@given(expressions("wide", constants=True, terminals="wide"))
def test_every_metric_can_be_typeset_and_drawn(tree):
    metric = Metric(tree)
    formula = xml.fromstring(mathml(metric))
    assert formula.tag.endswith("math")
    text = "".join(formula.itertext())
    assert "\\" not in text and "&" not in text  # neither LaTeX nor references are left over
    picture = xml.fromstring(tree_svg(metric))
    labels = [text.text for text in picture.iter("text")]
    assert sorted(labels) == sorted(node.label for node in tree.nodes())
    assert len(list(picture.iter("line"))) == metric.size - 1


def test_formula_reads_as_it_should():
    formula = xml.fromstring(mathml(Metric.parse("mul(W, sqrt(G))")))
    assert "".join(formula.itertext()) == "|W|·|G|"


@pytest.mark.parametrize(("terminal", "under"), [("X", "‖x‖2"), ("M", "x"), ("R", "‖∂y‖2")])
def test_a_mean_has_its_line_over_all_of_it(terminal, under):
    formula = xml.fromstring(mathml(Metric.parse(terminal)))
    (over,) = (part for part in formula.iter() if part.get("class") == "over")
    assert "".join(over.itertext()) == under
    assert not [part for part in formula.iter() if part.tag.endswith("mover")]


def test_tree_has_children_below_and_siblings_apart():
    picture = xml.fromstring(tree_svg(Metric.parse("sub(mul(W, X), mul(sqrt(G), W))")))
    boxes = [(float(r.get("x")), float(r.get("y")), float(r.get("width"))) for r in
             picture.iter("rect")]  # fmt: skip
    levels: dict[float, list[tuple[float, float]]] = {}
    for x, y, width in boxes:
        levels.setdefault(y, []).append((x, width))
    assert [len(level) for _, level in sorted(levels.items())] == [1, 2, 4, 1]
    for level in levels.values():
        level.sort()
        assert all(a[0] + a[1] < b[0] for a, b in pairwise(level))
    assert all(x >= 0 and x + width <= float(picture.get("width")) for x, _, width in boxes)
    titles = [title.text for title in picture.iter("title")]
    assert f"sub: {OPERATORS['sub'].meaning}" in titles
