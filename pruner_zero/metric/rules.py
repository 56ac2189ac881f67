"""The tables of rewriting rules behind simplification: ``oos`` and ``exact``.

Each rule looks at one node and returns a replacement or None. ``OOS_RULES`` is the paper's
Opposing Operation Simplification (Dong et al. 2024): an opposing pair is cancelled outright, also
where the protected operators are not true inverses. ``EXACT_RULES`` keep the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pruner_zero.metric.expression import Expression, apply
from pruner_zero.metric.facts import extent, is_non_negative
from pruner_zero.metric.operators import OPERATORS

Rewrite = Callable[[Expression], Expression | None]


@dataclass(frozen=True)
class Rule:
    """One rewriting rule.

    Attributes:
        name: a short name for tables.
        example: one application, ``before -> after``, as text; tests check it.
        rewrite: the replacement of a node, or None where the rule does not apply.
    """

    name: str
    example: str
    rewrite: Rewrite


_OPPOSITE_UNARY = {
    ("exp", "log"),
    ("log", "exp"),
    ("sqr", "sqrt"),
    ("sqrt", "sqr"),
    ("pow", "sqrt"),
    ("sqrt", "pow"),
    ("neg", "neg"),
}
_ODD = ("tanh", "zsn")
_SQUARES = ("sqr", "pow")
_POWERS = {"0.5": "sqrt", "1.0": "abs", "2.0": "sqr"}


def _skip(t: Expression) -> Expression | None:
    return t.children[0] if t.label == "skp" else None


def _opposing_unary(t: Expression) -> Expression | None:
    if len(t.children) == 1 and (t.label, t.children[0].label) in _OPPOSITE_UNARY:
        return t.children[0].children[0]
    return None


def _other(pair: tuple[Expression, ...], one: Expression) -> Expression | None:
    """The other member of a commutative pair, if ``one`` is a member."""
    if pair[0] == one:
        return pair[1]
    return pair[0] if pair[1] == one else None


def _undone(t: Expression, undo: str, do: str) -> Expression | None:
    """``undo(do(x, y), y)`` with commutative ``do``, or ``do(undo(x, y), y)``: return x."""
    if t.label == undo and t.children[0].label == do:
        return _other(t.children[0].children, t.children[1])
    if t.label == do:
        for inner, outer in (t.children, t.children[::-1]):
            if inner.label == undo and inner.children[1] == outer:
                return inner.children[0]
    return None


def _opposing_sum(t: Expression) -> Expression | None:
    return _undone(t, "sub", "add")


def _opposing_product(t: Expression) -> Expression | None:
    return _undone(t, "div", "mul")


def _same_extent(result: Expression | None, t: Expression) -> Expression | None:
    # A whole-tensor operator further up (norm, z-score) counts repeated rows, so an exact
    # replacement must not shrink the tensor.
    return result if result is not None and extent(result) == extent(t) else None


def _opposing_sum_same_extent(t: Expression) -> Expression | None:
    return _same_extent(_opposing_sum(t), t)


def _one_square(t: Expression) -> Expression | None:
    return apply("sqr", t.children[0]) if t.label == "pow" else None


def _self_product(t: Expression) -> Expression | None:
    if t.label == "mul" and t.children[0] == t.children[1]:
        return apply("sqr", t.children[0])
    return None


def _double_negation(t: Expression) -> Expression | None:
    if t.label == "neg" and t.children[0].label == "neg":
        return t.children[0].children[0]
    return None


def _needless_abs(t: Expression) -> Expression | None:
    if t.label == "abs" and is_non_negative(t.children[0]):
        return t.children[0]
    return None


def _sign_blind(t: Expression) -> Expression | None:
    operator = OPERATORS.get(t.label)
    if operator and operator.even and t.children[0].label in ("neg", "abs"):
        return apply(t.label, t.children[0].children[0], *t.children[1:])
    return None


def _root_and_square(t: Expression) -> Expression | None:
    if len(t.children) != 1:
        return None
    pair = (t.label, t.children[0].label)
    if pair in {("sqrt", s) for s in _SQUARES} | {(s, "sqrt") for s in _SQUARES}:
        return apply("abs", t.children[0].children[0])
    return None


def _signed_sum(t: Expression) -> Expression | None:
    if t.label == "add":
        left, right = t.children
        if right.label == "neg":
            return apply("sub", left, right.children[0])
        if left.label == "neg":
            return apply("sub", right, left.children[0])
    if t.label == "sub" and t.children[1].label == "neg":
        return apply("add", t.children[0], t.children[1].children[0])
    if t.label == "neg" and t.children[0].label == "sub":
        return apply("sub", *reversed(t.children[0].children))
    return None


def _rescaled_twice(t: Expression) -> Expression | None:
    if t.label not in ("mms", "zsn"):
        return None
    child = t.children[0]
    if child.label in ("mms", "zsn"):
        return apply(t.label, child.children[0])
    if child.label == "div":
        return _same_extent(apply(t.label, child.children[0]), t)
    return None


def _sign_outwards(t: Expression) -> Expression | None:
    if t.label in _ODD and t.children[0].label == "neg":
        return apply("neg", apply(t.label, t.children[0].children[0]))
    if t.label == "mul":
        left, right = t.children
        if left.label == "neg":
            return apply("neg", apply("mul", left.children[0], right))
        if right.label == "neg":
            return apply("neg", apply("mul", left, right.children[0]))
    if t.label == "div" and t.children[0].label == "neg":
        return apply("neg", apply("div", t.children[0].children[0], t.children[1]))
    return None


def _norm_sign(t: Expression) -> Expression | None:
    if t.label == "div" and t.children[1].label in ("neg", "abs"):
        return apply("div", t.children[0], t.children[1].children[0])
    return None


def _joined_power(t: Expression) -> Expression | None:
    if t.label == "mul" and t.children[0].label == t.children[1].label in ("sqr", "sqrt"):
        inner = apply("mul", t.children[0].children[0], t.children[1].children[0])
        return apply(t.children[0].label, inner)
    return None


def _named_power(t: Expression) -> Expression | None:
    name = _POWERS.get(t.children[1].label) if t.label == "power" else None
    return apply(name, t.children[0]) if name else None


def _reduced_already(t: Expression) -> Expression | None:
    operator = OPERATORS.get(t.label)
    if operator is None or operator.reduces is None:
        return None
    child = t.children[0]
    # What remains the same under a reduction along an axis does not vary along it.
    if extent(child) != extent(t):
        return None
    return apply("abs", child) if operator.even else child


def _argument_order(t: Expression) -> Expression | None:
    operator = OPERATORS.get(t.label)
    if operator is None or not operator.commutative:
        return None
    ordered = sorted(t.children, key=lambda child: (-child.size, str(child)))
    return None if list(t.children) == ordered else apply(t.label, *ordered)


_SKIP = Rule("identity", "skp(W) -> W", _skip)

OOS_RULES: tuple[Rule, ...] = (
    _SKIP,
    Rule("opposing unary pair", "exp(log(W)) -> W", _opposing_unary),
    Rule("opposing sum", "sub(add(W, G), G) -> W", _opposing_sum),
    Rule("opposing product", "mul(div(W, G), G) -> W", _opposing_product),
)

EXACT_RULES: tuple[Rule, ...] = (
    _SKIP,
    Rule("one name for the square", "pow(W) -> sqr(W)", _one_square),
    Rule("named power", "power(W, 0.5) -> sqrt(W)", _named_power),
    Rule("product with itself", "mul(W, W) -> sqr(W)", _self_product),
    Rule("double negation", "neg(neg(W)) -> W", _double_negation),
    Rule("absolute of non-negative", "abs(mul(W, G)) -> mul(W, G)", _needless_abs),
    Rule("sign under an even function", "sqr(neg(W)) -> sqr(W)", _sign_blind),
    Rule("root and square", "sqrt(sqr(W)) -> abs(W)", _root_and_square),
    Rule("signed sum", "add(W, neg(G)) -> sub(W, G)", _signed_sum),
    Rule("opposing sum", "sub(add(W, G), G) -> W", _opposing_sum_same_extent),
    Rule("rescaled twice", "mms(zsn(G)) -> mms(G)", _rescaled_twice),
    Rule("sign moves outwards", "mul(neg(W), G) -> neg(mul(W, G))", _sign_outwards),
    Rule("sign under a norm", "div(W, neg(G)) -> div(W, G)", _norm_sign),
    Rule("reduced already", "rowmean(rowmax(W)) -> rowmax(W)", _reduced_already),
    Rule("joined power", "mul(sqr(W), sqr(G)) -> sqr(mul(W, G))", _joined_power),
    Rule("argument order", "add(G, mul(W, W)) -> add(mul(W, W), G)", _argument_order),
)
