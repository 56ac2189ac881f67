"""Simplification before fitness: ``none``, ``oos`` (the paper), ``exact`` and ``rank``.

``rank`` keeps only what pruning can see, the order of scores inside one comparison group. At the
root it drops strictly increasing functions and, where the group lies within one layer, whatever
is a positive affine map per layer (``mms``, ``zsn``) or a positive factor per layer (``div``).
The order is kept as real numbers have it: where float32 rounds two scores to one, the rank form
tells them apart again. ``tanh`` and ``exp`` saturate early and are dropped only where their
argument is known to be small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric.expression import Expression, apply
from pruner_zero.metric.facts import extent, is_non_negative, is_within_one
from pruner_zero.metric.rules import EXACT_RULES, OOS_RULES, Rule

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
    if not _has_terminals(tree):
        return True
    varies = extent(tree)
    if varies.columns or scope not in _LOCAL_SCOPES:
        return False
    return scope == "row" or not varies.rows


def _has_terminals(tree: Expression) -> bool:
    return any(not node.children and not node.is_constant for node in tree.nodes())


def _without_increasing(tree: Expression, scope: str) -> Expression:
    """Drop strictly increasing functions from the root down.

    Below ``neg`` the order is mirrored, but the same functions may go.
    """
    label, children = tree.label, tree.children
    if label == "neg":
        return apply("neg", _without_increasing(children[0], scope))
    if label in ("sqr", "pow", "sqrt", "log"):
        # Each is an increasing function of |x|.
        inner = children[0] if is_non_negative(children[0]) else apply("abs", children[0])
        return _without_increasing(inner, scope)
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
        if _is_group_constant(right, scope) and _has_terminals(left):
            return _without_increasing(left, scope)
        if label == "add" and _is_group_constant(left, scope):
            return _without_increasing(right, scope)
    return tree


def _without_factors(tree: Expression, scope: str) -> Expression:
    """Drop positive factors that are one number per group, where only a product lies above."""
    label, children = tree.label, tree.children
    if label == "div":
        if scope in _LOCAL_SCOPES:
            return _without_factors(children[0], scope)
        return apply("div", _without_factors(children[0], scope), children[1])
    if label == "mul":
        left, right = children
        if _is_positive_number(left):
            return _without_factors(right, scope)
        if _is_positive_number(right):
            return _without_factors(left, scope)
        return apply("mul", _without_factors(left, scope), _without_factors(right, scope))
    if label in ("neg", "abs", "sqr", "sqrt"):
        return apply(label, _without_factors(children[0], scope))
    return tree


def _is_positive_number(tree: Expression) -> bool:
    return tree.is_constant and float(tree.label) > 0
