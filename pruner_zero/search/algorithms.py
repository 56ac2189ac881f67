"""Search algorithms with one ask-and-tell interface.

The paper's steady state, in pseudocode::

    population = known metrics if asked for, then random trees; simplified, evaluated
    while the budget lasts:
        pool = sample of the population
        parents = two of the best top_k of the pool
        child = simplify(mutate(crossover(parents)))
        evaluate child, add it, drop the worst

``ask`` makes the next candidate and ``tell`` takes its result; whoever drives the search decides
when and where evaluation happens. All randomness comes from one generator that belongs to the
search, so the same seed and the same results give the same search.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from deap import base, tools

from pruner_zero.metric import Metric
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.individual import Candidate, FitnessResult, Individual, Ranked
from pruner_zero.search.primitives import metric_to_nodes, primitive_set, tree_to_metric
from pruner_zero.search.randomness import drawing_from
from pruner_zero.search.variation import variation_toolbox

Proposal = tuple[str, tuple[int, ...], Individual]
Member = dict[str, Any]


class SearchAlgorithm(ABC):
    """What all algorithms share: population, numbering, hall of fame, state.

    Args:
        config: sizes, probabilities and limits.
        seed: of all random choices; every integer is a seed, 0 too.
        simplify: applied to every offspring before it is evaluated.
        operators: name of the operator set.
    """

    def __init__(
        self,
        config: SearchConfig,
        seed: int,
        simplify: Callable[[Metric], Metric],
        operators: str = "paper",
    ) -> None:
        """Make a search whose first candidate is the first random tree."""
        config.check()
        self.config = config
        self.generator = random.Random(seed)
        self.primitives = primitive_set(operators)
        self.toolbox: base.Toolbox = variation_toolbox(self.primitives, config.variation, simplify)
        self.population: list[Individual] = []
        self.hall_of_fame = tools.HallOfFame(config.hall_of_fame, similar=_same_masks)
        self.asked = 0
        self.refused = 0
        self.seeds = config.seed_metrics()

    def ask(self, is_repeat: Callable[[Metric, str | None], bool] | None = None) -> Candidate:
        """Make the next candidate, preferring one that the population does not hold."""
        known = {str(tree_to_metric(member)) for member in self.population}
        with drawing_from(self.generator):
            for _ in range(self.config.variation.attempts):
                operation, parents, proposal = self.seed() or self.propose()
                individual, metric = self.toolbox.simplify(proposal)
                repeat = str(metric) in known or (is_repeat and is_repeat(metric, None))
                if not repeat:
                    break
                self.refused += 1
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
        """Take a candidate's result: into the population, and drop the worst.

        No two members have the same masks: the one with fewer nodes stays.
        """
        individual = candidate.individual
        individual.fitness.values = (result.perplexity,)
        individual.digest = result.digest
        individual.losses = result.losses
        if result.reason is None and result.complete:
            self.hall_of_fame.update([individual])
        twin = next((m for m in self.population if _same_masks(m, individual)), None)
        if twin is not None:
            if len(individual) < len(twin):
                self.population[self.population.index(twin)] = individual
            return
        self.population.append(individual)
        if len(self.population) > self.config.population_size:
            # Among equally bad ones the newest goes: it has proved nothing.
            self.population.remove(max(self.population, key=lambda m: (m.fitness.values, m.number)))

    @property
    def best(self) -> Metric | None:
        """The best metric so far, None before any succeeded."""
        return tree_to_metric(self.hall_of_fame[0]) if len(self.hall_of_fame) else None

    @property
    def best_perplexity(self) -> float:
        """Its perplexity on the search windows, infinity before any succeeded."""
        return self.hall_of_fame[0].fitness.values[0] if len(self.hall_of_fame) else float("inf")

    def ranking(self) -> list[Ranked]:
        """The hall of fame, best first."""
        return [Ranked(tree_to_metric(m), m.scope, m.fitness.values[0]) for m in self.hall_of_fame]

    def place(self, rank: int) -> Individual | None:
        """The holder of a place in the hall of fame, from 1; None while it is free."""
        return self.hall_of_fame[rank - 1] if rank <= len(self.hall_of_fame) else None

    @abstractmethod
    def propose(self) -> Proposal:
        """Make one individual: what made it, its parents' numbers, and the tree itself."""

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
            "population": [self._member(m) for m in self.population],
            "hall_of_fame": [self._member(m) for m in self.hall_of_fame],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state; the search then continues as if it had never stopped."""
        version, internal, gauss = state["generator"]
        self.generator.setstate((version, tuple(internal), gauss))
        self.asked = state["asked"]
        self.population = [self._individual(m) for m in state["population"]]
        self.hall_of_fame.clear()
        self.hall_of_fame.update([self._individual(m) for m in state["hall_of_fame"]])

    def _member(self, member: Individual) -> Member:
        (perplexity,) = member.fitness.values
        return {
            "expression": str(tree_to_metric(member)),
            "perplexity": perplexity if perplexity < float("inf") else None,
            "digest": member.digest,
            "number": member.number,
            "scope": member.scope,
            "losses": list(member.losses),
        }

    def _individual(self, member: Member) -> Individual:
        metric = Metric.parse(member["expression"])
        individual = Individual(metric_to_nodes(metric, self.primitives))
        perplexity = member["perplexity"]
        individual.fitness.values = (float("inf") if perplexity is None else perplexity,)
        individual.digest = member["digest"]
        individual.number = member["number"]
        individual.scope = member["scope"]
        individual.losses = tuple(member["losses"])
        return individual


class SteadyState(SearchAlgorithm):
    """The paper's loop: one offspring at a time, the worst leaves."""

    def propose(self) -> Proposal:
        """A random tree until the population is full, then an offspring."""
        if self.asked < self.config.population_size:
            return self.random_individual()
        mother, father = self.parents()
        child = self.toolbox.clone(mother)
        operations = []
        parents: tuple[int, ...] = (mother.number,)
        if random.random() < self.config.variation.crossover_probability:
            child, _ = self.toolbox.mate(child, self.toolbox.clone(father))
            operations.append("crossover")
            parents = (mother.number, father.number)
        if random.random() < self.config.variation.mutation_probability:
            (child,) = self.toolbox.mutate(child)
            operations.append("mutation")
        return "+".join(operations) or "copy", parents, child

    def parents(self) -> tuple[Individual, Individual]:
        """Two of the best ``top_k`` of a random pool (tournament over a sampled pool)."""
        size = max(2, round(self.config.pool_ratio * len(self.population)))
        pool = random.sample(self.population, min(size, len(self.population)))
        best = tools.selBest(pool, min(self.config.top_k, len(pool)))
        return random.choice(best), random.choice(best)


class RandomSearch(SearchAlgorithm):
    """The baseline: random trees only, with the same initialisation and simplification."""

    def propose(self) -> Proposal:
        """A random tree."""
        return self.random_individual()


def _same_masks(one: Individual, other: Individual) -> bool:
    return one.digest is not None and one.digest == other.digest


def make_algorithm(
    config: SearchConfig, seed: int, simplify: Callable[[Metric], Metric], operators: str = "paper"
) -> SearchAlgorithm:
    """Return the algorithm that ``config.algorithm`` names."""
    kinds: dict[str, type[SearchAlgorithm]] = {"steady_state": SteadyState, "random": RandomSearch}
    config.check()
    return kinds[config.algorithm](config, seed, simplify, operators)
