"""Sparsity patterns: how many weights go, and which weights compete with one another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from pruner_zero.errors import UserError, suggest
from pruner_zero.model.layers import PrunableLayer

Scope: TypeAlias = Literal["row", "layer", "block", "model"]
SCOPES: tuple[str, ...] = get_args(Scope)


@dataclass(frozen=True)
class Unstructured:
    """Prune a share of the weights, anywhere.

    Attributes:
        ratio: share that is pruned, in (0, 1).
        scope: the set of weights whose scores compete: one output row, a layer, a decoder block or
            the whole model. The count is ``int(size · ratio)`` in each such set.
    """

    ratio: float
    scope: Scope = "row"

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise UserError(f"sparsity {self.ratio:g}: the ratio must lie strictly between 0 and 1")
        if self.scope not in SCOPES:
            raise UserError(f"unknown scope '{self.scope}': {suggest(self.scope, SCOPES)}")

    def __str__(self) -> str:
        return repr(self.ratio)

    def check(self, layers: Iterable[PrunableLayer]) -> None:
        """Accept every layer: a ratio fits any width."""
        del layers


@dataclass(frozen=True)
class NofM:
    """Of every ``m`` consecutive inputs of an output row, prune the ``n`` with the lowest scores.

    Attributes:
        n: weights pruned per group.
        m: weights per group; it must divide the width of every layer.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m:
            raise UserError(f"sparsity {self.n}:{self.m}: N:M needs 0 < N < M")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def ratio(self) -> float:
        """Share that is pruned."""
        return self.n / self.m

    def check(self, layers: Iterable[PrunableLayer]) -> None:
        """Check that the groups fit before any work is done.

        Args:
            layers: the layers to be pruned.

        Raises:
            UserError: ``m`` does not divide a layer's width; names the first such layer.
        """
        for layer in layers:
            width = layer.shape[1]
            if width % self.m:
                raise UserError(
                    f"sparsity {self}: {layer.name} has {width} inputs, "
                    f"which is not a multiple of {self.m}"
                )


SparsityPattern: TypeAlias = Unstructured | NofM


def with_scope(pattern: SparsityPattern, scope: str | None) -> SparsityPattern:
    """Return the pattern with another scope; None leaves it as it is.

    Raises:
        UserError: a scope for N:M, or an unknown one.
    """
    if scope is None:
        return pattern
    if isinstance(pattern, NofM):
        return parse_sparsity(str(pattern), scope)
    return Unstructured(pattern.ratio, cast(Scope, scope))


def parse_sparsity(value: str | float, scope: str | None = None) -> SparsityPattern:
    """Read a sparsity pattern as users write it.

    Args:
        value: ``0.5``, ``"0.5"`` or ``"2:4"``; ``str()`` of the result gives the text form back.
        scope: ``row`` (default), ``layer``, ``block`` or ``model``; only for a ratio.

    Returns:
        The pattern.

    Raises:
        UserError: neither a ratio in (0, 1) nor a possible N:M, an unknown scope, or a scope
            together with N:M, whose scope is always the group.
    """
    text = str(value).strip()
    groups = re.fullmatch(r"(\d+)\s*:\s*(\d+)", text)
    if groups:
        if scope is not None:
            raise UserError(
                f"sparsity {text} with scope '{scope}': "
                "N:M competes inside each group, drop the scope"
            )
        return NofM(int(groups[1]), int(groups[2]))
    try:
        ratio = float(text)
    except ValueError:
        raise UserError(
            f"sparsity '{text}': write a ratio such as 0.5 or a pattern such as 2:4"
        ) from None
    return Unstructured(ratio, cast(Scope, "row" if scope is None else scope))
