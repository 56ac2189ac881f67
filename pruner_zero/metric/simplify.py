"""Simplification before fitness: ``none``, ``oos`` (the paper), ``exact`` and ``rank``.

``rank`` keeps only what pruning can see, the order of scores inside one comparison group. At the
root it drops strictly increasing functions and, where the group lies within one layer, whatever
is a positive affine map per layer (``mms``, ``zsn``) or a positive factor per layer (``div``). At
every scope it drops terms that are one number per group, and factors and divisors that are one
non-negative number per group. The order is kept as real numbers have it: where float32 rounds two
scores to one, or a factor of zero ties a whole group, the rank form tells them apart again.
``tanh`` and ``exp`` saturate early and are dropped only where their argument is known to be small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric.expression import Expression, apply
from pruner_zero.metric.facts import extent, is_non_negative, is_within_one
from pruner_zero.metric.rules import EXACT_RULES, OOS_RULES, Rule
from pruner_zero.metric.terminals import TERMINALS

Simplification = Literal["none", "oos", "exact", "rank"]
SIMPLIFICATIONS: tuple[str, ...] = get_args(Simplification)

_LOCAL_SCOPES = ("row", "layer")


def simplify(tree: Expression, mode: str = "rank", scope: str = "row") -> Expression:
    """Simplify an expression.

    Args:
        tree: the expression.
        mode: ``none``, ``oos``, ``exact`` or ``rank``.
        scope: the comparison group that ``rank`` must respect: ``row`` (also for N:M), ``layer``,
            ``block`` or ``model``.

    Returns:
        The simplified expression; simplifying it again changes nothing.

    Raises:
        UserError: for an unknown mode.
    """
    if mode == "none":
        return tree
    if mode == "oos":
        return _rewrite_all(tree, OOS_RULES)
    if mode == "exact":
        return _rewrite_all(tree, EXACT_RULES)
    if mode != "rank":
        raise UserError(f"no simplification is called '{mode}': {suggest(mode, SIMPLIFICATIONS)}")
    while True:
        exact = _rewrite_all(tree, EXACT_RULES)
        ranked = _rank_step(exact, scope)
        if ranked == tree:
            return tree
        tree = ranked


def _rewrite_all(tree: Expression, rules: Sequence[Rule]) -> Expression:
    """Apply rules bottom-up until none applies.

    Every rule shrinks the tree, moves a sign outwards or orders arguments, so this ends.
    """
    children = tuple(_rewrite_all(child, rules) for child in tree.children)
    if children != tree.children:
        tree = Expression(tree.label, children)
    for rule in rules:
        replacement = rule.rewrite(tree)
        if replacement is not None:
            return _rewrite_all(replacement, rules)
    return tree


def _rank_step(tree: Expression, scope: str) -> Expression:
    return _without_factors(_without_increasing(tree, scope), scope)


def _is_group_constant(tree: Expression, scope: str) -> bool:
    """Whether a value is one number per comparison group."""
    names = _terminals(tree)
    if not names:
        return True
    if scope not in _LOCAL_SCOPES:
        return scope == "block" and all(TERMINALS[name].of_block for name in names)
    varies = extent(tree)
    return not varies.columns and (scope == "row" or not varies.rows)


def _is_factor(tree: Expression, scope: str) -> bool:
    """Whether a value is one number per comparison group, never negative and not plainly zero."""
    if tree.is_constant:
        return float(tree.label) > 0
    return _is_group_constant(tree, scope) and is_non_negative(tree)


def _terminals(tree: Expression) -> set[str]:
    return {node.label for node in tree.nodes() if node.label in TERMINALS}


def _without_increasing(tree: Expression, scope: str) -> Expression:
    """Drop strictly increasing functions from the root down.

    Below ``neg`` the order is mirrored, but the same functions may go.
    """
    label, children = tree.label, tree.children
    if label == "neg":
        return apply("neg", _without_increasing(children[0], scope))
    if label in ("sqr", "pow", "sqrt", "log"):
        # Each is an increasing function of |x|.
        return _without_increasing(_magnitude(children[0]), scope)
    if label == "power" and (exponent := _number(children[1])):
        base = _without_increasing(_magnitude(children[0]), scope)
        return base if exponent > 0 else apply("neg", base)
    if label == "ratio" and _is_factor(children[0], scope) and is_non_negative(children[1]):
        return apply("neg", _without_increasing(children[1], scope))
    if label in ("tanh", "exp") and is_within_one(children[0]):
        return _without_increasing(children[0], scope)
    if label == "exp" and children[0].label == "log":
        return _without_increasing(children[0], scope)
    if label in ("mms", "zsn") and scope in _LOCAL_SCOPES:
        return _without_increasing(children[0], scope)
    if label in ("add", "sub"):
        left, right = children
        if label == "add" and left == right:
            return _without_increasing(left, scope)
        if _is_group_constant(right, scope) and _terminals(left):
            return _without_increasing(left, scope)
        if _is_group_constant(left, scope):
            rest = _without_increasing(right, scope)
            return rest if label == "add" else apply("neg", rest)
    return tree


def _magnitude(tree: Expression) -> Expression:
    return tree if is_non_negative(tree) else apply("abs", tree)


def _number(tree: Expression) -> float | None:
    return float(tree.label) if tree.is_constant else None


def _without_factors(tree: Expression, scope: str) -> Expression:
    """Drop positive factors that are one number per group, where only a product lies above.

    All that may lie above keeps a factor's sign and sends zero to zero. A divisor's own factors
    stay: dropped, they would move the scores whose divisor is protected against zero.
    """
    label, children = tree.label, tree.children
    if label == "div":
        if scope in _LOCAL_SCOPES:
            return _without_factors(children[0], scope)
        return apply("div", _without_factors(children[0], scope), children[1])
    if label == "ratio":
        numerator = _without_factors(children[0], scope)
        if _is_factor(children[1], scope):
            return numerator
        return apply("ratio", numerator, children[1])
    if label == "mul":
        left, right = children
        if _is_factor(left, scope):
            return _without_factors(right, scope)
        if _is_factor(right, scope):
            return _without_factors(left, scope)
        return apply("mul", _without_factors(left, scope), _without_factors(right, scope))
    if label in ("neg", "abs", "sqr", "sqrt"):
        return apply(label, _without_factors(children[0], scope))
    if label == "power" and (_number(children[1]) or 0) > 0:
        return apply("power", _without_factors(children[0], scope), children[1])
    return tree
