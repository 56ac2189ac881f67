"""Known metrics that open a population: a name or a formula, with a scope after ``@`` if wanted.

``wanda@all`` stands for one seed in each scope that the search may choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric import TERMINALS, Metric
from pruner_zero.model.sparsity import SCOPES


@dataclass(frozen=True)
class Seed:
    """One known metric.

    Attributes:
        metric: what is evaluated.
        scope: whose scores compete; None for the run's own scope.
    """

    metric: Metric
    scope: str | None = None

    @classmethod
    def parse_all(cls, text: str, scopes: Sequence[str]) -> list[Seed]:
        """Read one entry of ``search.seeds``, which ``@all`` makes several.

        Args:
            text: as for `parse`, or with ``@all``.
            scopes: those of the search.

        Raises:
            UserError: see `parse`; or ``@all`` without ``search.scopes``.
        """
        formula, at, scope = (part.strip() for part in text.partition("@"))
        if not at or scope != "all":
            return [cls.parse(text)]
        if not scopes:
            raise UserError(f"search.seeds: '{text}' needs search.scopes=[…]")
        return [cls.parse(f"{formula}@{one}") for one in scopes]

    @classmethod
    def parse(cls, text: str) -> Seed:
        """Read ``wanda``, ``mul(W, G)``, ``wanda@model`` or ``mul(W, G)@layer``.

        Raises:
            UserError: for what is neither a known name nor a formula, and for an unknown scope.
        """
        formula, at, scope = (part.strip() for part in text.partition("@"))
        if at and scope not in SCOPES:
            raise UserError(f"search.seeds: unknown scope in '{text}': {suggest(scope, SCOPES)}")
        is_formula = "(" in formula or formula in TERMINALS
        metric = Metric.parse(formula) if is_formula else Metric.named(formula)
        return cls(metric, scope or None)
