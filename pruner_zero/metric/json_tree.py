"""The public tree file: ``{"data": "mul", "left": {...}, "right": {...}}``.

A unary node has only ``left``, a terminal only ``data``: the format of the public Pruner-Zero
code, so that files move both ways.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric.expression import MAX_DEPTH, MAX_NODES, Expression, canonical_number
from pruner_zero.metric.operators import OPERATORS
from pruner_zero.metric.terminals import TERMINALS

JsonTree = dict[str, Any]
_SIDES = ("left", "right")


def expression_to_json(tree: Expression) -> JsonTree:
    """Return the public JSON tree of an expression, as nested dictionaries."""
    node: JsonTree = {"data": tree.label}
    for side, child in zip(_SIDES, tree.children, strict=False):
        node[side] = expression_to_json(child)
    return node


def expression_from_json(node: Mapping[str, Any]) -> Expression:
    """Build the expression of a public JSON tree.

    Raises:
        UserError: for a label that does not exist, a missing or surplus branch, or a tree beyond
            the limits; the message gives the path from the root.
    """
    count = 0

    def build(node: object, path: str, depth: int) -> Expression:
        nonlocal count
        count += 1
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise UserError(
                f"the metric tree is too large: more than {MAX_DEPTH} levels or {MAX_NODES} nodes"
            )
        if not isinstance(node, Mapping) or not isinstance(node.get("data"), str | int | float):
            raise UserError(f"the metric tree has no 'data' label at {path}")
        label = str(node["data"])
        label = canonical_number(label) or label
        operator = OPERATORS.get(label)
        if operator is None and label not in TERMINALS and canonical_number(label) is None:
            hint = suggest(label, [*OPERATORS, *TERMINALS])
            raise UserError(f"the metric tree has the unknown label '{label}' at {path}: {hint}")
        arity = operator.arity if operator else 0
        present = {side for side in _SIDES if node.get(side) is not None}
        if present != set(_SIDES[:arity]):
            needs = " and ".join(f"'{side}'" for side in _SIDES[:arity]) or "no branch"
            raise UserError(f"the metric tree's '{label}' at {path} needs {needs}")
        children = tuple(build(node[s], f"{path}.{s}", depth + 1) for s in _SIDES[:arity])
        return Expression(label, children)

    return build(node, "root", 0)


def read_json_tree(path: Path) -> Expression:
    """Read a tree file.

    Raises:
        UserError: when the file is absent, not JSON, or not a tree.
    """
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the metric file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else "not valid JSON"
        raise UserError(f"cannot read the metric file {path}: {reason}") from error
    return expression_from_json(node)
