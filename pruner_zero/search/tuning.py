"""The local optimiser of numbers: random steps whose size adapts.

A (1+1) evolution strategy on the numbers of one formula, with the 1/5-th success rule
(Rechenberg 1973): a step that lowers the perplexity makes the next ones longer, one that does not
makes them shorter, in balance when one of five succeeds. A step that leaves all masks as they were
was too short, whatever the rule says.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

from pruner_zero.search.breeder import Proposal, bare_copy
from pruner_zero.search.constants import move_number, number_places
from pruner_zero.search.individual import Baseline, Candidate, FitnessResult, Individual
from pruner_zero.search.variation_config import TuneConfig

OPERATION = "tune"
_LONGER = math.exp(0.4)
_SHORTER = math.exp(-0.4 / 4)
_SHORTEST, _LONGEST = 0.005, 2.0


class Tuner:
    """Moves the numbers of the best metrics.

    Args:
        config: share of offspring, how many metrics, first step.
    """

    def __init__(self, config: TuneConfig) -> None:
        """Start with the configured step."""
        self.config = config
        self.step = config.step

    def propose(self, famed: Iterable[Individual]) -> Proposal | None:
        """Move one or several numbers of one of the best individuals, the better the likelier.

        Args:
            famed: the hall of fame, best first.

        Returns:
            None when no individual has numbers.
        """
        eligible = [member for member in famed if number_places(member)][: self.config.top]
        if not eligible:
            return None
        (parent,) = random.choices(eligible, [1 / rank for rank in range(1, len(eligible) + 1)])
        child = bare_copy(parent)
        places = number_places(child)
        moving = {random.choice(places)}
        moving.update(place for place in places if random.random() < 1 / len(places))
        for place in sorted(moving):
            move_number(child, place, self.step)
        baseline = Baseline(parent.digest, parent.perplexity)
        return Proposal(OPERATION, (parent.number,), child, baseline)

    def learn(self, candidate: Candidate, result: FitnessResult) -> None:
        """Adapt the step to what a candidate's evaluation gave; others than its own are ignored.

        Args:
            candidate: any candidate; its parent may have left the hall of fame meanwhile.
            result: its evaluation.
        """
        baseline = candidate.baseline
        if baseline is None:
            return
        unchanged = result.digest is not None and result.digest == baseline.digest
        better = result.complete and result.perplexity < baseline.perplexity
        self.step *= _LONGER if unchanged or better else _SHORTER
        self.step = min(max(self.step, _SHORTEST), _LONGEST)

    def state(self) -> dict[str, Any]:
        """What the tuner has learnt, as plain JSON values."""
        return {"step": self.step}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.step = state["step"]
