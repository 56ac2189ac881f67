"""Text to expression: a small recursive-descent parser, never Python's evaluator.

Grammar::

    expression = NAME "(" expression { "," expression } ")" | TERMINAL | NUMBER
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric.expression import MAX_DEPTH, MAX_NODES, Expression, canonical_number
from pruner_zero.metric.operators import OPERATORS
from pruner_zero.metric.terminals import TERMINALS

_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*)|(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(.))")


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str
    position: int


def _tokenise(text: str) -> list[_Token]:
    tokens = []
    for match in _TOKEN.finditer(text.rstrip()):
        group = match.lastindex or 1
        kind = ("name", "number", "sign")[group - 1]
        tokens.append(_Token(match.group(group), kind, match.start(group)))
    tokens.append(_Token("the end", "end", len(text.rstrip())))
    return tokens


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokenise(text)
        self.index = 0
        self.nodes = 0

    def fail(self, token: _Token, expected: str) -> UserError:
        found = token.text if token.kind == "end" else f"'{token.text}'"
        return UserError(
            f"cannot read the metric '{self.text}': at position {token.position + 1} "
            f"found {found}, expected {expected}"
        )

    def take(self) -> _Token:
        token = self.tokens[self.index]
        self.index += token.kind != "end"
        return token

    def expect(self, sign: str, alternative: str = "") -> None:
        token = self.take()
        if token.text != sign or token.kind != "sign":
            raise self.fail(token, f"'{sign}'{alternative}")

    def expression(self, depth: int) -> Expression:
        token = self.take()
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise UserError(
                f"the metric is too large: at position {token.position + 1} it exceeds "
                f"{MAX_DEPTH} levels or {MAX_NODES} nodes"
            )
        if token.kind == "number":
            number = canonical_number(token.text)
            if number is None:
                raise self.fail(token, "a finite number below 1e30")
            return Expression(number)
        if token.kind != "name":
            raise self.fail(token, f"an operator, a terminal ({', '.join(TERMINALS)}) or a number")
        if token.text in TERMINALS:
            return Expression(token.text)
        if token.text not in OPERATORS:
            known = [*OPERATORS, *TERMINALS]
            raise self.fail(token, f"an operator or terminal; {suggest(token.text, known)}")
        self.expect("(")
        children = []
        for place in range(OPERATORS[token.text].arity):
            if place:
                self.expect(",", f" ('{token.text}' takes {OPERATORS[token.text].arity} arguments)")
            children.append(self.expression(depth + 1))
        self.expect(")", f" ('{token.text}' takes {OPERATORS[token.text].arity} argument(s))")
        return Expression(token.text, tuple(children))


def parse_expression(text: str) -> Expression:
    """Parse a metric such as ``mul(abs(mul(W, W)), mms(G))``.

    Args:
        text: prefix notation; white space is free; numbers are allowed as constants.

    Returns:
        The expression; ``str`` of it parses to an equal one.

    Raises:
        UserError: with the position and the expected token, or the size limit that it exceeds.
    """
    parser = _Parser(text)
    tree = parser.expression(0)
    end = parser.take()
    if end.kind != "end":
        raise parser.fail(end, "the end")
    return tree
