"""What an operator must do before a search may draw it: a few small tensors tell.

A search puts every operator above and below every other, on weights, gradients and activations of
any size, so that an operator has to give finite numbers of the right shape for all of them. What
is said of its sign and symmetry is believed by the simplification rules, so that it is probed too.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import torch
from torch import Tensor

from pruner_zero.metric.words import Operator

_ROWS, _COLUMNS = 4, 6
_LARGE = 1e6
# The shapes of values in a formula: a weight, one number per row, per column, per layer.
_SHAPES = {
    "a weight": (_ROWS, _COLUMNS),
    "one number per row": (_ROWS, 1),
    "one number per column": (1, _COLUMNS),
    "one number": (1, 1),
}
_REDUCED = {"row": (_ROWS, 1), "column": (1, _COLUMNS), "layer": (1, 1)}


def probe(operator: Operator) -> str | None:
    """Return what is wrong with an operator, as the end of a sentence that begins with its name.

    Args:
        operator: any; its function is called a few dozen times on tensors of 24 numbers.

    Returns:
        None when it passes: arity, shape, dtype, finiteness on zeros, negatives and large numbers,
        the same value every time, untouched arguments, a LaTeX template that can be filled in, and
        the facts that it claims.
    """
    if failure := _arity(operator):
        return failure
    for check in (_typeset, _finite, _shapes, _pure, _signs, _symmetries, _reduced_once):
        try:
            failure = check(operator)
        except Exception as error:
            # A user's function may raise anything.
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return f"raises on tensors of {_ROWS} x {_COLUMNS}: {reason}"
        if failure:
            return failure
    return None


def _arity(operator: Operator) -> str | None:
    if operator.arity not in (1, 2):
        return f"takes {operator.arity} arguments: an operator takes 1 or 2"
    try:
        inspect.signature(operator.function).bind(*[None] * operator.arity)
    except TypeError:
        return f"does not take {operator.arity} positional argument(s)"
    except ValueError:
        return None  # built-in functions do not tell
    return None


def _mixed(shape: tuple[int, int] = (_ROWS, _COLUMNS)) -> Tensor:
    """Numbers of both signs, none of them twice."""
    count = shape[0] * shape[1]
    return (torch.arange(count, dtype=torch.float32) * 0.37 - 0.31 * count / 2 + 0.05).view(shape)


def _values() -> Iterator[tuple[str, Tensor]]:
    shape = (_ROWS, _COLUMNS)
    yield "zeros", torch.zeros(shape)
    yield "ones", torch.ones(shape)
    yield "negative numbers", -torch.ones(shape)
    yield "numbers of both signs", _mixed()
    yield "small numbers (1e-6)", _mixed() * 1e-6
    yield "large numbers (1e6)", _mixed().sign() * _LARGE


def _call(operator: Operator, *arguments: Tensor) -> Tensor:
    value = operator.function(*arguments)
    if not isinstance(value, Tensor):
        raise TypeError(f"a tensor is wanted, not {type(value).__name__}")
    return value


def _finite(operator: Operator) -> str | None:
    values = list(_values())
    pairs = (
        [(a, b) for a in values for b in values] if operator.arity == 2 else [(a,) for a in values]
    )
    for pair in pairs:
        result = _call(operator, *(value for _, value in pair))
        if not torch.isfinite(result).all():
            on = " and ".join(name for name, _ in pair)
            return f"is not finite on {on}: protect it, for example with clamp or a small constant"
    return None


def _shapes(operator: Operator) -> str | None:
    pairs = (
        [(a, b) for a in _SHAPES for b in _SHAPES]
        if operator.arity == 2
        else [(a,) for a in _SHAPES]
    )
    for names in pairs:
        shapes = [_SHAPES[name] for name in names]
        whole = torch.broadcast_shapes(*shapes)
        wanted = whole
        if operator.reduces:
            limits = _REDUCED[operator.reduces]
            wanted = torch.Size(min(a, b) for a, b in zip(whole, limits, strict=True))
        for dtype in (torch.float32, torch.float64):
            result = _call(operator, *(_mixed(shape).to(dtype) for shape in shapes))
            if result.shape != wanted:
                on = " and ".join(names)
                return f"gives shape {list(result.shape)} on {on}, not {list(wanted)}"
            if result.dtype != dtype:
                return f"gives {result.dtype} of {dtype}: keep the dtype of the argument"
    # A constant in a formula has no axes.
    _call(operator, *[torch.tensor(2.0)] * operator.arity)
    return None


def _typeset(operator: Operator) -> str | None:
    try:
        operator.latex.format(*["x"] * operator.arity)
    except (IndexError, KeyError, ValueError) as error:
        return (
            f"has a LaTeX template that cannot be filled in ({error}): double the braces that "
            "are not {0} or {1}"
        )
    return None


def _pure(operator: Operator) -> str | None:
    arguments = [_mixed() + index for index in range(operator.arity)]
    before = [argument.clone() for argument in arguments]
    first = _call(operator, *arguments).clone()
    if any(not torch.equal(a, b) for a, b in zip(arguments, before, strict=True)):
        return "changes its argument in place: formulas share values, return a new tensor"
    if not torch.equal(first, _call(operator, *before)):
        return "gives another value when it is called again: it must not be random"
    return None


def _signs(operator: Operator) -> str | None:
    for name, value in _values():
        other = _mixed().roll(1)
        arguments = [value, other][: operator.arity]
        positive = [argument.abs() for argument in arguments]
        if operator.sign == "non-negative" and bool((_call(operator, *arguments) < 0).any()):
            return f"is negative on {name}, though its sign is given as non-negative"
        if operator.sign != "any" and bool((_call(operator, *positive) < 0).any()):
            return f"is negative on arguments that are not, though its sign is '{operator.sign}'"
    return None


def _symmetries(operator: Operator) -> str | None:
    value, other = _mixed(), _mixed().roll(1)
    rest = [other][: operator.arity - 1]
    if operator.even:
        # Of each number alone: a function of all numbers can bear -x in place of x, and not |x|.
        usual = _call(operator, value, *rest)
        for other_sign in (-value, value.abs()):
            if not torch.equal(usual, _call(operator, other_sign, *rest)):
                return "depends on its first argument's signs, though it is given as even"
    if operator.commutative and (
        operator.arity != 2
        or not torch.equal(_call(operator, value, other), _call(operator, other, value))
    ):
        return "depends on the order of its arguments, though it is given as commutative"
    return None


def _reduced_once(operator: Operator) -> str | None:
    if operator.reduces is None:
        return None
    if operator.arity != 1:
        return "reduces and takes two arguments: a reduction takes one"
    value = _mixed(_REDUCED[operator.reduces])
    wanted = value.abs() if operator.even else value
    if not torch.allclose(_call(operator, value), wanted):
        own = "their absolute values" if operator.even else "themselves"
        return f"does not leave numbers that are reduced already as {own}"
    return None
