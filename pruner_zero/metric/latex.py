"""Expressions as LaTeX mathematics."""

from __future__ import annotations

from pruner_zero.metric.expression import Expression
from pruner_zero.metric.operators import OPERATORS
from pruner_zero.metric.terminals import TERMINALS

# Binding strength of what an operator's template shows on top level; the rest need no brackets.
_SUM, _SIGNED, _PRODUCT, _POWER, _ATOM = range(5)
# A sum over rows or columns reaches over the products behind it.
_STRENGTH = {"add": _SUM, "sub": _SUM, "neg": _SIGNED, "rowsum": _SIGNED, "colsum": _SIGNED,
             "mul": _PRODUCT, "ratio": _PRODUCT, "div": _PRODUCT, "sqr": _POWER, "pow": _POWER,
             "power": _POWER, "V": _POWER}  # fmt: skip
_NEEDS = {"sub": (_SUM, _PRODUCT), "mul": (_PRODUCT, _PRODUCT), "neg": (_PRODUCT,),
          "sqr": (_ATOM,), "pow": (_ATOM,), "rowsum": (_PRODUCT,),
          "colsum": (_PRODUCT,)}  # fmt: skip


def _strength(tree: Expression) -> int:
    if tree.label == "skp":
        return _strength(tree.children[0])
    if tree.is_constant and tree.label.startswith("-"):
        return _SIGNED
    if tree.is_constant and "e" in tree.label:
        return _PRODUCT
    return _STRENGTH.get(tree.label, _ATOM)


# The bars that protect an operator say nothing around a terminal, which is never negative.
_BARS = "\\left|{0}\\right|"
_BARRED = ("abs", "sqrt", "log", "power")


def _number(label: str) -> str:
    digits, e, exponent = label.partition("e")
    return f"{digits} \\cdot 10^{{{int(exponent)}}}" if e else label


def expression_to_latex(tree: Expression) -> str:
    """Return LaTeX without math delimiters; terminals are written as their table says."""
    if not tree.children:
        return TERMINALS[tree.label].latex if tree.label in TERMINALS else _number(tree.label)
    needs = _NEEDS.get(tree.label, (_SUM, _SUM))
    parts = []
    for child, need in zip(tree.children, needs, strict=False):
        text = expression_to_latex(child)
        parts.append(f"\\left({text}\\right)" if _strength(child) < need else text)
    template = OPERATORS[tree.label].latex
    child = tree.children[0]
    if tree.label in _BARRED and child.label in TERMINALS:
        bare = tree.label == "power" and _strength(child) < _ATOM
        template = template.replace(_BARS, "\\left({0}\\right)" if bare else "{0}")
    return template.format(*parts)
