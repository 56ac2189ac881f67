"""``pruner-zero show``: everything there is to know about one metric, without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from pruner_zero.commands.display import Display
from pruner_zero.commands.methods import published_equals, resolve_method_argument, update_of
from pruner_zero.commands.schema import ShowCommandConfig
from pruner_zero.errors import UserError
from pruner_zero.metric import (
    KNOWN_METRICS,
    OPERATORS,
    TERMINALS,
    Expression,
    Metric,
    load_operators,
)
from pruner_zero.model.sparsity import SCOPES

HELP = """\
pruner-zero show: a metric as formula, tree, simplified forms, JSON, LaTeX and Python

usage: pruner-zero show metric=NAME|FORMULA|FILE.json|RUN_FOLDER [other=…]

  metric=wanda              a published metric, a formula ('mul(W,G)@model'), a tree file, a run
  operator_files=[mine.py]  operators of your own, for formulas that use them
  other='mul(sqr(W),X)'     a second one: says whether pruning can tell them apart
"""


def show(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """Print a metric in all its forms.

    Args:
        cfg: of the show command's schema.
        output: not used.
        display: where to print.

    Raises:
        UserError: no such metric.
    """
    del output
    config = cast(ShowCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    load_operators(config.operator_files)
    metric, scope = _metric(config.metric)
    for line in _lines(config.metric, metric, scope, config.operator_files):
        display.say(line)
    if config.other:
        display.say("")
        for line in _comparison(metric, _metric(config.other)[0]):
            display.say(line)


def _metric(text: str) -> tuple[Metric, str]:
    method = resolve_method_argument(text)
    if not isinstance(method.metric, Metric):
        raise UserError(f"{text} is not a formula: it chooses weights while it updates them")
    return method.metric, method.scope


def _lines(text: str, metric: Metric, scope: str, operator_files: Sequence[str]) -> Iterator[str]:
    yield f"formula   {metric}"
    names = [name for name, known in KNOWN_METRICS.items() if Metric.parse(known.formula) == metric]
    for name in names:
        yield f"known as  {name}: {KNOWN_METRICS[name].source}"
    if others := [name for name in published_equals(metric, scope) if name not in names]:
        yield f"prunes as {', '.join(others)}: the order of weights is the same by {scope}"
    for update in sorted({update_of(one) for one in (text, *names)} - {"none"}):
        yield f"update    {update}: found with this weight update and to be used with it"
    yield f"scope     {scope}: weights of one {scope} compete (N:M: the group)"
    yield f"size      {metric.size} nodes, depth {metric.expression.depth}"
    yield "reads"
    for name in sorted(metric.terminals):
        yield f"  {name}  {TERMINALS[name].meaning}"
    yield "tree"
    yield from _tree(metric.expression)
    yield "simplified"
    yield f"  oos     {metric.simplified('oos')}"
    yield f"  exact   {metric.simplified('exact')}"
    yield "rank form: what pruning can see of it, by the scope in which scores compete"
    for name in SCOPES:
        yield f"  {name:<7} {metric.simplified('rank', name)}"
    yield f"LaTeX     {metric.latex()}"
    yield f"JSON      {json.dumps(metric.to_json())}"
    yield "Python"
    names = sorted(metric.terminals)
    shapes = "; ".join(f"{n} {_shape(n)}" for n in names)
    yield f"  # {shapes}"
    if operator_files:
        yield "  from pruner_zero import Metric, load_operators"
        yield f"  load_operators({list(operator_files)})"
    else:
        yield "  from pruner_zero import Metric"
    # Every layer has a weight: it gives the shape of the scores also where it is not read.
    arguments = ", ".join(["W", *(f"{name}={name}" for name in names if name != "W")])
    yield f'  scores = Metric.parse("{metric}").score({arguments})  # the lowest are pruned'


def _shape(name: str) -> str:
    rows, columns = TERMINALS[name].shape(2, 3)
    return f"[{'out' if rows == 2 else 1}, {'in' if columns == 3 else 1}]"


def _tree(expression: Expression) -> Iterator[str]:
    """Draw a tree with one node per line."""

    def draw(node: Expression, lead: str, below: str) -> Iterator[str]:
        meaning = OPERATORS[node.label].meaning if node.label in OPERATORS else ""
        yield f"{lead}{node.label}" + (f"  ({meaning})" if meaning else "")
        for index, child in enumerate(node.children):
            last = index == len(node.children) - 1
            yield from draw(
                child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")
            )

    yield from draw(expression, "  ", "  ")


def _comparison(one: Metric, other: Metric) -> Iterator[str]:
    yield f"compared with  {other}"
    for name in SCOPES:
        forms = [metric.simplified("rank", name) for metric in (one, other)]
        if forms[0] == forms[1]:
            yield f"  {name:<7} the same to pruning: both order weights like {forms[0]}"
        else:
            yield f"  {name:<7} not shown to be the same: {forms[0]} and {forms[1]}"
    yield "Different rank forms may still give equal masks; equal ones always do, but for rounding."
