"""Hypothesis strategies shared by the tests."""

from __future__ import annotations

from hypothesis import strategies as st

from pruner_zero.metric import OPERATORS, Expression, operator_set, terminal_set


def expressions(
    operators: str = "paper",
    max_leaves: int = 8,
    constants: bool = False,
    terminals: str = "paper",
):
    """Random expressions over an operator set and a terminal set."""
    leaves = st.sampled_from([Expression(terminal.name) for terminal in terminal_set(terminals)])
    if constants:
        numbers = st.floats(-100, 100, allow_nan=False).map(lambda v: Expression(repr(v)))
        exponents = st.sampled_from(["-1.0", "-0.5", "0.0", "0.5", "1.0", "1.5", "2.0", "3.0"])
        leaves = st.one_of(leaves, numbers, exponents.map(Expression))
    names = [operator.name for operator in operator_set(operators)]

    def extend(children):
        return st.sampled_from(names).flatmap(
            lambda name: st.tuples(*[children] * OPERATORS[name].arity).map(
                lambda arguments: Expression(name, arguments)
            )
        )

    return st.recursive(leaves, extend, max_leaves=max_leaves)
