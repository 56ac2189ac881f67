"""What all algorithms share: asking and telling, numbering, the hall of fame, the state."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from deap import gp, tools

from pruner_zero.metric import Metric
from pruner_zero.search.breeder import Breeder, Proposal
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.diversity import survivors
from pruner_zero.search.individual import (
    Candidate,
    FitnessResult,
    FrontMember,
    Individual,
    PerplexityFitness,
    Ranked,
)
from pruner_zero.search.members import (
    Member,
    from_member,
    from_pending,
    metric_of,
    to_member,
    to_pending,
)
from pruner_zero.search.primitives import metric_to_nodes, tree_to_metric
from pruner_zero.search.randomness import drawing_from
from pruner_zero.search.twins import are_twins, merit, without_twins

Simplify = Callable[[Metric, str | None], Metric]
Judge = Callable[[Metric, str | None], bool]
SEED = "seed"


class SearchAlgorithm(ABC):
    """A search that is asked for candidates and told their results, one at a time.

    Several candidates may be asked for before the first result is told, where `may_ask` says so.

    Args:
        config: sizes, probabilities and limits.
        seed: of all random choices; every integer is a seed, 0 too.
        simplify: from a metric and its scope (None for the run's own) to the metric that is
            evaluated.
        primitives: what trees are made of.

    Attributes:
        asked: candidates made so far.
        told: candidates whose results came so far.
        refused: repeats that were thrown away before evaluation, see `ask`.
        waiting: offspring that look like earlier candidates and were put last, oldest first, as
            JSON values: the state is written with every candidate, and there can be hundreds.
        since_best: candidates told since the best changed.
    """

    def __init__(
        self, config: SearchConfig, seed: int, simplify: Simplify, primitives: gp.PrimitiveSet
    ) -> None:
        """Make a search whose first candidate is the first seed or the first random tree."""
        self.config = config
        self.simplify = simplify
        self.generator = random.Random(seed)
        self.primitives = primitives
        self.breeder = Breeder(self.primitives, config)
        self.seeds = config.known_metrics()
        self.population: list[Individual] = []
        self.hall_of_fame = tools.HallOfFame(config.hall_of_fame, similar=lambda one, other: False)
        self.asked = 0
        self.told = 0
        self.refused = 0
        self.waiting: dict[tuple[Metric, str | None], Member] = {}
        self.since_best = 0

    @abstractmethod
    def propose(self) -> Proposal:
        """Make one individual."""

    def may_ask(self) -> bool:
        """Whether the next candidate can be made before the results of all others have come."""
        return True

    def ask(self, is_known: Judge | None = None, looks_known: Judge | None = None) -> Candidate:
        """Make the next candidate.

        An offspring is refused when its metric and scope are known, or when its metric reads no
        terminal and so ranks nothing. One that looks known is put last: it waits until
        ``variation.attempts`` tries have brought no new one, and then the oldest that waits is
        taken. Where none waits, the last try is taken though it is known.

        Args:
            is_known: whether a metric was seen before with this scope, beside the population.
            looks_known: whether it prunes, as far as a cheap look can tell, like an earlier one.
        """
        known = {(metric_of(member), member.scope) for member in self.living()}

        def is_useless(metric: Metric, scope: str | None) -> bool:
            if not metric.terminals or (metric, scope) in known:
                return True
            return is_known is not None and is_known(metric, scope)

        with drawing_from(self.generator):
            candidate = self._candidate(is_useless, looks_known or (lambda metric, scope: False))
        self.asked += 1
        candidate.individual.number = self.asked
        generation = self.config.generation(self.asked)
        return replace(candidate, number=self.asked, generation=generation)

    def _candidate(self, is_useless: Judge, looks_known: Judge) -> Candidate:
        """Return a candidate without a number; a seed is taken as it is asked for."""
        for _ in range(self.config.variation.attempts):
            candidate = self._simplified(self._seed() or self.propose())
            if candidate.operation == SEED:
                return candidate
            if is_useless(*candidate.key) or candidate.key in self.waiting:
                self.refused += 1
            elif looks_known(*candidate.key):
                self.waiting[candidate.key] = to_pending(candidate)
            else:
                return candidate
        while self.waiting:
            key = next(iter(self.waiting))
            oldest = self.waiting.pop(key)
            if not is_useless(*key):
                return from_pending(oldest, self.primitives)
            self.refused += 1
        self.refused -= 1
        return candidate

    def _simplified(self, proposal: Proposal) -> Candidate:
        """Return the candidate that an individual becomes, without a number."""
        scope = proposal.individual.scope
        raw = tree_to_metric(proposal.individual)
        metric = self.simplify(raw, scope)
        individual = Individual(metric_to_nodes(metric, self.primitives))
        individual.scope = scope
        return Candidate(
            number=0,
            generation=0,
            operation=proposal.operation,
            parents=proposal.parents,
            raw=raw,
            metric=metric,
            individual=individual,
            baseline=proposal.baseline,
        )

    def _seed(self) -> Proposal | None:
        """The next known metric, None when all of them are in."""
        if self.asked >= len(self.seeds):
            return None
        seed = self.seeds[self.asked]
        individual = Individual(metric_to_nodes(seed.metric, self.primitives))
        individual.scope = seed.scope
        return Proposal(SEED, (), individual)

    def tell(self, candidate: Candidate, result: FitnessResult) -> None:
        """Take a candidate's result; results come in the order in which candidates were asked."""
        self.told = candidate.number
        individual = candidate.individual
        individual.digest = result.digest
        individual.losses = result.losses
        individual.complete = result.complete
        if result.reason is None:
            individual.parts = tuple(part.perplexity for part in result.parts)
        self.rate(individual, result.perplexity)
        before = self.answer()
        if result.reason is None and result.complete:
            self.honour(individual)
        self.since_best = self.since_best + 1 if self.answer() == before else 0
        self.admit(individual)

    def rate(self, individual: Individual, perplexity: float) -> None:
        """Give an individual its fitness; the first objective is always the perplexity."""
        individual.fitness = PerplexityFitness((perplexity,))

    def honour(self, individual: Individual) -> None:
        """Put a completely evaluated individual into the hall of fame if it is good enough.

        It takes the place of its twins, or stays out when one of them is better.
        """
        twins = [i for i, famed in enumerate(self.hall_of_fame) if are_twins(famed, individual)]
        if any(merit(self.hall_of_fame[i]) < merit(individual) for i in twins):
            return
        for index in reversed(twins):
            self.hall_of_fame.remove(index)
        self.hall_of_fame.update([individual])

    def admit(self, individual: Individual) -> None:
        """Put an evaluated individual into the population; one leaves."""
        members = without_twins([*self.population, individual])
        self.population = survivors(members, self.config.population_size, self.config.diversity)

    def living(self) -> list[Individual]:
        """Return all individuals that a new one must differ from."""
        return self.population

    def answer(self) -> Hashable:
        """What the search has found so far; the search stagnates while it stays the same."""
        return self.best_perplexity

    @property
    def stagnant(self) -> bool:
        """Whether ``search.stagnation`` candidates have come without a new best."""
        limit = self.config.stagnation
        return limit is not None and self.since_best >= limit

    @property
    def best(self) -> Metric | None:
        """The best metric so far, None before any succeeded."""
        return metric_of(self.hall_of_fame[0]) if len(self.hall_of_fame) else None

    @property
    def best_scope(self) -> str | None:
        """The scope of the best metric, None for the run's own."""
        return self.hall_of_fame[0].scope if len(self.hall_of_fame) else None

    @property
    def best_perplexity(self) -> float:
        """Its perplexity on the search windows, infinity before any succeeded."""
        return self.hall_of_fame[0].perplexity if len(self.hall_of_fame) else float("inf")

    def place(self, rank: int) -> Individual | None:
        """Return the individual at a rank of the hall of fame, or None when it holds fewer.

        Args:
            rank: 1 for the best; all in the hall of fame are completely evaluated.
        """
        return self.hall_of_fame[rank - 1] if 1 <= rank <= len(self.hall_of_fame) else None

    def ranking(self) -> list[Ranked]:
        """The hall of fame, best first."""
        return [Ranked(metric_of(m), m.scope, m.perplexity) for m in self.hall_of_fame]

    def front(self) -> list[FrontMember]:
        """The Pareto front where the algorithm keeps one."""
        return []

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the search depends on, as plain JSON values."""
        version, internal, gauss = self.generator.getstate()
        return {
            "asked": self.asked,
            "told": self.told,
            "refused": self.refused,
            "waiting": list(self.waiting.values()),
            "since_best": self.since_best,
            "generator": [version, list(internal), gauss],
            "population": [to_member(m) for m in self.population],
            "hall_of_fame": [to_member(m) for m in self.hall_of_fame],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state; the search then continues as if it had never stopped."""
        version, internal, gauss = state["generator"]
        self.generator.setstate((version, tuple(internal), gauss))
        self.asked = state["asked"]
        self.told = state["told"]
        self.refused = state["refused"]
        waiting = state["waiting"]
        self.waiting = {(Metric.parse(one["simplified"]), one["scope"]): one for one in waiting}
        self.since_best = state["since_best"]
        self.population = self.members(state["population"])
        self.hall_of_fame.clear()
        # DEAP puts the last of equally good ones first, so the order survives only backwards.
        self.hall_of_fame.update(self.members(state["hall_of_fame"])[::-1])

    def members(self, records: list[Member]) -> list[Individual]:
        """Return the individuals of a state, rated as this algorithm rates them."""
        restored = []
        for record in records:
            individual, perplexity = from_member(record, self.primitives)
            self.rate(individual, perplexity)
            restored.append(individual)
        return restored
