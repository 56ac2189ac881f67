"""What all algorithms share: asking and telling, numbering, the hall of fame, the state."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from deap import base, tools

from pruner_zero.metric import Metric
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.individual import (
    Candidate,
    FitnessResult,
    Individual,
    PerplexityFitness,
)
from pruner_zero.search.members import Member, from_member, to_member
from pruner_zero.search.primitives import metric_to_nodes, primitive_set, tree_to_metric
from pruner_zero.search.randomness import drawing_from
from pruner_zero.search.twins import same_masks, without_twins
from pruner_zero.search.variation import variation_toolbox

Simplify = Callable[[Metric], Metric]
Proposal = tuple[str, tuple[int, ...], Individual]


class SearchAlgorithm(ABC):
    """A search that is asked for candidates and told their results, one at a time.

    Args:
        config: sizes, probabilities and limits.
        seed: of all random choices; every integer is a seed, 0 too.
        simplify: applied to every offspring before it is evaluated.
        operators: name of the operator set.
    """

    def __init__(
        self, config: SearchConfig, seed: int, simplify: Simplify, operators: str = "paper"
    ) -> None:
        """Make a search whose first candidate is the first seed or the first random tree."""
        self.config = config
        self.generator = random.Random(seed)
        self.primitives = primitive_set(operators)
        self.toolbox: base.Toolbox = variation_toolbox(self.primitives, config.variation, simplify)
        self.population: list[Individual] = []
        self.hall_of_fame = tools.HallOfFame(config.hall_of_fame, similar=same_masks)
        self.asked = 0
        self.seeds = config.seed_metrics()

    @abstractmethod
    def propose(self) -> Proposal:
        """Make one individual: what made it, its parents' numbers, and the tree itself."""

    def ask(self) -> Candidate:
        """Make the next candidate, preferring one that the population does not hold."""
        known = {str(tree_to_metric(member)) for member in self.population}
        with drawing_from(self.generator):
            for _ in range(self.config.variation.attempts):
                operation, parents, proposal = self.seed() or self.propose()
                individual, metric = self.toolbox.simplify(proposal)
                if str(metric) not in known:
                    break
        self.asked += 1
        individual.number = self.asked
        return Candidate(
            number=self.asked,
            generation=(self.asked - 1) // self.config.population_size,
            operation=operation,
            parents=parents,
            raw=tree_to_metric(proposal),
            metric=metric,
            individual=individual,
        )

    def tell(self, candidate: Candidate, result: FitnessResult) -> None:
        """Take a candidate's result."""
        individual = candidate.individual
        individual.digest = result.digest
        individual.losses = result.losses
        individual.complete = result.complete
        self.rate(individual, result.perplexity)
        if result.reason is None and result.complete:
            self.hall_of_fame.update([individual])
        self.admit(individual)

    def rate(self, individual: Individual, perplexity: float) -> None:
        """Give an individual its fitness; the first objective is always the perplexity."""
        individual.fitness = PerplexityFitness((perplexity,))

    def admit(self, individual: Individual) -> None:
        """Put an evaluated individual into the population; the worst leaves."""
        self.population = without_twins([*self.population, individual])
        if len(self.population) > self.config.population_size:
            # Among equally bad ones the newest goes: it has proved nothing.
            worst = max(self.population, key=lambda m: (m.perplexity, m.number))
            # By identity: equal trees are equal lists to DEAP.
            self.population = [member for member in self.population if member is not worst]

    @property
    def best(self) -> Metric | None:
        """The best metric so far, None before any succeeded."""
        return tree_to_metric(self.hall_of_fame[0]) if len(self.hall_of_fame) else None

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

    def ranking(self) -> list[tuple[Metric, float]]:
        """The hall of fame, best first: metric and search perplexity."""
        return [(tree_to_metric(m), m.perplexity) for m in self.hall_of_fame]

    def seed(self) -> Proposal | None:
        """The next known metric, None when all of them are in."""
        if self.asked >= len(self.seeds):
            return None
        return "seed", (), Individual(metric_to_nodes(self.seeds[self.asked], self.primitives))

    def random_individual(self) -> Proposal:
        """A random tree, full or grown."""
        return "random", (), self.toolbox.individual()

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the search depends on, as plain JSON values."""
        version, internal, gauss = self.generator.getstate()
        return {
            "asked": self.asked,
            "generator": [version, list(internal), gauss],
            "population": [to_member(m) for m in self.population],
            "hall_of_fame": [to_member(m) for m in self.hall_of_fame],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state; the search then continues as if it had never stopped."""
        version, internal, gauss = state["generator"]
        self.generator.setstate((version, tuple(internal), gauss))
        self.asked = state["asked"]
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
