"""The public face of the metric language."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pruner_zero.errors import UserError, suggest
from pruner_zero.metric.column_scores import ColumnScores
from pruner_zero.metric.evaluate import evaluate
from pruner_zero.metric.expression import Expression
from pruner_zero.metric.json_tree import (
    JsonTree,
    expression_from_json,
    expression_to_json,
    read_json_tree,
)
from pruner_zero.metric.latex import expression_to_latex
from pruner_zero.metric.library import KNOWN_METRICS
from pruner_zero.metric.parser import parse_expression
from pruner_zero.metric.simplify import simplify
from pruner_zero.metric.terminals import TERMINALS
from pruner_zero.metric.words import Extent


@dataclass(frozen=True)
class Metric:
    """A symbolic pruning metric: a score per weight; the lowest scores are pruned.

    Immutable; equality and hash are by structure. Build one by :meth:`parse`, :meth:`from_json`
    or :meth:`named`.
    """

    expression: Expression

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read ``mul(abs(mul(W, W)), mms(G))``.

        Raises:
            UserError: with the position and what was expected there.
        """
        return cls(parse_expression(text))

    @classmethod
    def from_json(cls, source: str | PathLike[str] | Mapping[str, Any]) -> Metric:
        """Read a public JSON tree from a file or from nested dictionaries.

        Raises:
            UserError: when the file or the tree cannot be read; it names the place.
        """
        if isinstance(source, Mapping):
            return cls(expression_from_json(source))
        return cls(read_json_tree(Path(source)))

    @classmethod
    def named(cls, name: str) -> Metric:
        """Return a known metric: magnitude, wanda, gradient, gblm, ria, pruner-zero or a found one.

        Raises:
            UserError: for an unknown name, with the nearest one.
        """
        if name not in KNOWN_METRICS:
            raise UserError(f"no metric is called '{name}': {suggest(name, KNOWN_METRICS)}")
        return cls.parse(KNOWN_METRICS[name].formula)

    def to_json(self, path: str | PathLike[str] | None = None) -> JsonTree:
        """Return the public JSON tree, and write it to ``path`` when one is given."""
        tree = expression_to_json(self.expression)
        if path is not None:
            Path(path).write_text(json.dumps(tree, indent=4) + "\n", encoding="utf-8")
        return tree

    def latex(self) -> str:
        """Return the formula as LaTeX, without math delimiters."""
        return expression_to_latex(self.expression)

    def simplified(self, mode: str = "rank", scope: str = "row") -> Metric:
        """Return the metric simplified by ``none``, ``oos``, ``exact`` or ``rank``."""
        return Metric(simplify(self.expression, mode, scope))

    @property
    def terminals(self) -> frozenset[str]:
        """The terminals that the metric reads."""
        return frozenset(node.label for node in self.expression.nodes() if node.label in TERMINALS)

    @property
    def size(self) -> int:
        """The number of nodes."""
        return self.expression.size

    def score(
        self, W: Tensor, G: Tensor | None = None, X: Tensor | None = None, **others: Tensor
    ) -> Tensor:
        """Score every weight of one linear layer.

        Args:
            W: the weight, [out, in]; its absolute value is taken.
            G: the gradient magnitude, [out, in], if the metric reads it.
            X: the mean squared norm of each input feature, [1, in] or [in], if it is read.
            others: further terminals by name, each with the shape that ``TERMINALS`` gives.

        Returns:
            Scores, [out, in], in float32 (float64 when ``W`` is). Not checked for NaN or Inf.

        Raises:
            UserError: when a terminal that the metric reads is missing, or one is given that does
                not exist.
        """
        for name in others:
            if name not in TERMINALS:
                raise UserError(f"no terminal is called '{name}': {suggest(name, TERMINALS)}")
        dtype = torch.float64 if W.dtype == torch.float64 else torch.float32
        given = {"W": W.detach().abs(), "G": G, "X": X, **others}
        missing = sorted(name for name in self.terminals if given.get(name) is None)
        if missing:
            raise UserError(f"the metric {self} needs {', '.join(missing)}: measure statistics")
        values = {
            name: _as_row(name, value.to(dtype))
            for name, value in given.items()
            if value is not None
        }
        return evaluate(self.expression, values).expand(W.shape)

    def column_scores(self, values: Mapping[str, Tensor]) -> ColumnScores:
        """Return what scores columns of a layer whose weights change.

        Args:
            values: every terminal but W that the metric reads, by name, in float32.
        """
        return ColumnScores(self.expression, values)

    def __str__(self) -> str:
        return str(self.expression)


def _as_row(name: str, value: Tensor) -> Tensor:
    """[in] as [1, in], of the terminals that are one number per input."""
    per_input = TERMINALS[name].extent == Extent(False, True)
    return value.unsqueeze(0) if value.dim() == 1 and per_input else value
