"""Hypothesis strategies shared by the tests."""

from __future__ import annotations

from hypothesis import strategies as st

from pruner_zero.metric import OPERATORS, Expression, operator_set


def expressions(operators: str = "paper", max_leaves: int = 8, constants: bool = False):
    """Random expressions over an operator set."""
    leaves = st.sampled_from([Expression("W"), Expression("G"), Expression("X")])
    if constants:
        numbers = st.floats(-100, 100, allow_nan=False).map(lambda v: Expression(repr(v)))
        leaves = st.one_of(leaves, numbers)
    names = [operator.name for operator in operator_set(operators)]

    def extend(children):
        return st.sampled_from(names).flatmap(
            lambda name: st.tuples(*[children] * OPERATORS[name].arity).map(
                lambda arguments: Expression(name, arguments)
            )
        )

    return st.recursive(leaves, extend, max_leaves=max_leaves)
