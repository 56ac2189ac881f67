"""A formula typeset as MathML, and its tree drawn as SVG."""

from __future__ import annotations

import html
import xml.etree.ElementTree as xml
from dataclasses import dataclass

from latex2mathml.converter import convert_to_element
from markupsafe import Markup

from pruner_zero.metric import OPERATORS, TERMINALS, Expression, Metric

_WIDTH, _HEIGHT = 66, 50  # pixels from leaf to leaf, and from level to level
_BOX, _TALL = 56, 26  # of a node
_DASH = "―"
_BARS = ("|", "‖", "∥")


def mathml(metric: Metric) -> Markup:
    """Return a formula as a MathML block, which browsers typeset themselves."""
    formula = convert_to_element(metric.latex(), display="block")
    for element in formula.iter():
        # The converter writes characters as references, which serialising would write out.
        element.text = html.unescape(element.text or "")
        # Browsers take a bar for a relation, with space on both sides.
        if element.tag == "mo" and element.text in _BARS:
            element.attrib |= {"lspace": "0", "rspace": "0"}
        # The converter sets a dash above, which does not stretch; the page's style draws a line.
        if element.tag == "mover" and html.unescape(element[1].text or "") == _DASH:
            element.tag = "mrow"
            element.set("class", "over")
            element.remove(element[1])
    return Markup(xml.tostring(formula, encoding="unicode"))


def tree_svg(metric: Metric) -> Markup:
    """Return a metric's tree as an inline SVG picture; hovering a node says what it means."""
    placed = _place(metric.expression, 0, 0.5)
    width = max(placed.right, 1.0) * _WIDTH
    height = metric.expression.depth * _HEIGHT + _TALL + 8
    picture = xml.Element(
        "svg",
        {
            "class": "tree",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-label": f"tree of {metric}",
        },
    )
    lines = xml.SubElement(picture, "g", {"class": "lines"})
    nodes = xml.SubElement(picture, "g", {"class": "nodes"})
    _draw(placed, lines, nodes)
    return Markup(xml.tostring(picture, encoding="unicode"))


@dataclass(frozen=True)
class _Placed:
    """A node with its centre in leaf widths, its level, and where its right neighbour may start."""

    node: Expression
    x: float
    level: int
    right: float
    children: tuple[_Placed, ...]

    @property
    def centre(self) -> tuple[float, float]:
        """In pixels."""
        return self.x * _WIDTH, self.level * _HEIGHT + _TALL / 2 + 4


def _place(node: Expression, level: int, left: float) -> _Placed:
    """Put leaves side by side, and every other node above the middle of its children."""
    children = []
    right = left
    for child in node.children:
        children.append(_place(child, level + 1, right))
        right = children[-1].right + 0.5
    if not children:
        return _Placed(node, left, level, left + 0.5, ())
    middle = sum(child.x for child in children) / len(children)
    return _Placed(node, middle, level, children[-1].right, tuple(children))


def _draw(placed: _Placed, lines: xml.Element, nodes: xml.Element) -> None:
    x, y = placed.centre
    for child in placed.children:
        to_x, to_y = child.centre
        ends = {"x1": f"{x:g}", "y1": f"{y:g}", "x2": f"{to_x:g}", "y2": f"{to_y:g}"}
        xml.SubElement(lines, "line", ends)
        _draw(child, lines, nodes)
    label = placed.node.label
    kind, meaning = _kind(placed.node)
    group = xml.SubElement(nodes, "g", {"class": kind})
    xml.SubElement(group, "title").text = f"{label}: {meaning}"
    corner = {"x": f"{x - _BOX / 2:g}", "y": f"{y - _TALL / 2:g}"}
    size = {"width": f"{_BOX}", "height": f"{_TALL}", "rx": "5" if kind == "operator" else "13"}
    xml.SubElement(group, "rect", {**corner, **size})
    xml.SubElement(group, "text", {"x": f"{x:g}", "y": f"{y + 4.5:g}"}).text = label


def _kind(node: Expression) -> tuple[str, str]:
    if node.label in OPERATORS:
        return "operator", OPERATORS[node.label].meaning
    if node.label in TERMINALS:
        return "terminal", TERMINALS[node.label].meaning
    return "constant", "constant"
