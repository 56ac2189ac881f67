"""Stand-ins for a model: fitness from the text of a formula, with failures, ties and partials."""

from __future__ import annotations

import hashlib
import json

from pruner_zero.metric import Metric
from pruner_zero.search.algorithms import SearchAlgorithm, make_algorithm
from pruner_zero.search.config import ALGORITHMS, SearchConfig, TuneConfig
from pruner_zero.search.individual import Candidate, FitnessResult

VARIANTS = {
    **{name: {"algorithm": name} for name in ALGORITHMS},
    "everything": {
        "scopes": ["row", "layer", "model"],
        "constants": [0.5, 2.0],
        "seeds": ["wanda@model", "mul(W, add(G, 0.5))@layer"],
        "tune": TuneConfig(share=0.5),
        "diversity": "sharing",
        "immigrants": 0.2,
        "init": "grow",
    },
    "comma": {"algorithm": "mu_plus_lambda", "offspring_size": 7, "diversity": "age"},
    "front": {"algorithm": "nsga2", "offspring_size": 3, "scopes": ["row", "block"],
              "constants": [1.0], "tune": TuneConfig(share=0.3)},
}  # fmt: skip


def simplify(metric: Metric, scope: str | None) -> Metric:
    return metric.simplified("rank", scope or "row")


def fitness(candidate: Candidate) -> FitnessResult:
    return landscape(candidate.metric, candidate.individual.scope)


def landscape(metric: Metric, scope: str | None = None) -> FitnessResult:
    """Deterministic; equal digests are equally good, and so are some different ones."""
    text = f"{metric}@{scope}" if scope else str(metric)
    value = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 400
    if value % 7 == 0:
        return FitnessResult(float("inf"), reason="NaN scores in a layer")
    return FitnessResult(10 + value // 3, 100, 100, digest=f"{value}", losses=(value / 7, 1.5))


class Landscape:
    """The same as an evaluator; may be interrupted at one of its calls."""

    full_tokens = 100

    def __init__(self, interrupt_at=None):
        self.calls, self.interrupt_at = 0, interrupt_at

    def evaluate(self, metric, scope=None, rival=None):
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        return landscape(metric, scope)

    def looks_known(self, metric, scope):
        """A guess, mostly wrong: one in five looks known."""
        return (landscape(metric, scope).perplexity - 10) % 5 == 0


def partly(candidate: Candidate) -> FitnessResult:
    """The same landscape; some evaluations are stopped early, with an estimate that is too low."""
    result = fitness(candidate)
    if result.reason is None and candidate.number % 3 == 0:
        return FitnessResult(
            1.0, 50, 50, digest=result.digest, losses=result.losses[:1], complete=False
        )
    return result


def make(seed: int = 0, **settings) -> SearchAlgorithm:
    config = SearchConfig(**{"population_size": 10, "generations": 6, **settings})
    return make_algorithm(config, seed, simplify)


def proceed(
    algorithm: SearchAlgorithm, count: int, evaluate=partly
) -> list[tuple[Candidate, FitnessResult]]:
    """Ask, evaluate, tell so many times."""
    seen = []
    for _ in range(count):
        candidate = algorithm.ask()
        result = evaluate(candidate)
        algorithm.tell(candidate, result)
        seen.append((candidate, result))
    return seen


def reloaded(state):
    """A state as a checkpoint gives it back."""
    return json.loads(json.dumps(state, allow_nan=False))


def digest_of_run(name: str) -> str:
    """Everything that a run of a variant made, as text."""
    seen = proceed(make(3, **VARIANTS[name]), 60)
    return "\n".join(f"{c.operation} {c.parents} {c.metric} {c.individual.scope}" for c, _ in seen)
