"""What a user may write as pruning method, and what each method's own scope is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric import KNOWN_METRICS, TERMINALS, Metric
from pruner_zero.model.accumulators import INPUT_TERMINALS
from pruner_zero.model.scoring import Scoring
from pruner_zero.model.sparsity import (
    SCOPES,
    NofM,
    Scope,
    SparsityPattern,
    Unstructured,
    parse_sparsity,
)

METHODS = (*KNOWN_METRICS, "sparsegpt")


@dataclass(frozen=True)
class Method:
    """A way to choose weights.

    Attributes:
        name: a known name, or the metric's formula.
        metric: the score; None for SparseGPT, which chooses while it updates.
        scope: which weights compete unless the user says otherwise.
    """

    name: str
    metric: Scoring | None
    scope: Scope = "row"

    @property
    def reads(self) -> frozenset[str]:
        """The terminals that the score reads; none of SparseGPT, which needs Hessians instead."""
        return frozenset() if self.metric is None else self.metric.terminals

    def flow(self, wanted: str) -> str:
        """``one_shot`` or ``sequential``: as wanted, but SparseGPT has the latter alone."""
        return "sequential" if self.metric is None else wanted

    def reads_of_dense(self, mode: str) -> frozenset[str]:
        """The terminals that it takes from the dense model.

        Args:
            mode: ``"one_shot"``, or ``"sequential"``, where what comes from layers' inputs is
                measured behind the blocks pruned before.
        """
        return self.reads - INPUT_TERMINALS if mode == "sequential" else self.reads


def resolve_method(method: str | Scoring | Method) -> Method:
    """Turn a name, a formula or a metric into a method.

    Args:
        method: one of ``METHODS`` or a formula such as ``"mul(W, G)"``, with a scope after ``@`` if
            wanted (``"mul(W, G)@model"``); or a metric; or a method, which is returned.

    Returns:
        The method. Its own scope is the layer for magnitude, the row for other published metrics
        and formulas, and the one it was found with for a found metric.

    Raises:
        UserError: an unknown name or scope, with the nearest one, a formula that does not parse,
            or a scope for SparseGPT.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        return Method(str(method), method)
    name, at, scope = (part.strip() for part in method.partition("@"))
    if at and scope not in SCOPES:
        raise UserError(f"unknown scope in '{method}': {suggest(scope, SCOPES)}")
    if name == "sparsegpt":
        if at:
            raise _no_scope()
        return Method(name, None)
    if name in KNOWN_METRICS:
        metric, own = Metric.named(name), KNOWN_METRICS[name].scope
    elif "(" in name or name in TERMINALS:
        metric, own = Metric.parse(name), "row"
    else:
        raise UserError(f"no pruning method is called '{name}': {suggest(name, METHODS)}")
    return Method(method, metric, cast(Scope, scope or own))


def resolve_pattern(
    method: Method, sparsity: str | float | SparsityPattern, scope: str | None
) -> SparsityPattern:
    """Combine a sparsity, a scope and a method's own scope.

    Args:
        method: the method.
        sparsity: as users write it, or a pattern (whose scope then stands).
        scope: the user's scope, or None for the method's own.

    Returns:
        The pattern.

    Raises:
        UserError: an impossible sparsity, or a scope for SparseGPT (it has its own: the block of
            128 columns), for N:M (the group) or beside a ready pattern.
    """
    if scope is not None and method.metric is None:
        raise _no_scope()
    if isinstance(sparsity, Unstructured | NofM):
        if scope is not None:
            raise UserError("give the scope inside the sparsity pattern or beside it, not both")
        return sparsity
    pattern = parse_sparsity(sparsity, scope)
    if scope is None and isinstance(pattern, Unstructured):
        return Unstructured(pattern.ratio, method.scope)
    return pattern


def _no_scope() -> UserError:
    return UserError("sparsegpt compares weights inside blocks of 128 columns: drop the scope")
