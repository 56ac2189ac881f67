"""How trees are born, changed and tuned; Hydra fills it, Python callers construct it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from pruner_zero.errors import UserError


@dataclass
class MutationWeights:
    """How often each kind of mutation is chosen, relative to the others; 0 is never.

    Kinds that cannot change the individual at hand (no number in the tree, one scope only) take
    no part in the draw.

    Attributes:
        node: a node becomes another of the same arity (the paper's mutation).
        subtree: a subtree becomes a small random one.
        hoist: a subtree becomes the whole tree.
        shrink: an inner node becomes one of its arguments.
        insert: a new operator is put above a subtree.
        constant: a number takes a random step.
        power: a subtree is raised to a random power around 1, where the operators have ``power``.
        scope: other scores compete.
    """

    node: float = 1.0
    subtree: float = 1.0
    hoist: float = 0.25
    shrink: float = 0.5
    insert: float = 0.5
    constant: float = 1.0
    power: float = 1.0
    scope: float = 1.0

    @property
    def all_zero(self) -> bool:
        """Whether no kind is ever chosen."""
        return not any(asdict(self).values())

    def check(self) -> None:
        """Raise a UserError for weights that are none."""
        for kind, weight in asdict(self).items():
            if not (math.isfinite(weight) and weight >= 0):
                raise UserError(
                    f"search.variation.mutation_weights.{kind} must be a number from 0 up"
                )


@dataclass
class VariationConfig:
    """How trees are born and changed.

    Attributes:
        min_depth: least depth of random trees (edges from root to leaf).
        max_depth: greatest depth of random trees.
        depth_limit: deepest tree that variation may make; deeper offspring are refused.
        size_limit: most nodes of random trees and of offspring.
        mutation_weights: which mutation a mutated offspring gets, see `MutationWeights`.
        attempts: how often to try for an offspring that is not known yet.
    """

    min_depth: int = 2
    max_depth: int = 4
    depth_limit: int = 8
    size_limit: int = 32
    mutation_weights: MutationWeights = field(default_factory=MutationWeights)
    attempts: int = 20

    def check(self) -> None:
        """Raise a UserError for impossible values."""
        if not 0 <= self.min_depth <= self.max_depth <= self.depth_limit:
            raise UserError(
                "search.variation needs 0 <= min_depth <= max_depth <= depth_limit, got "
                f"{self.min_depth}, {self.max_depth}, {self.depth_limit}"
            )
        if self.depth_limit > 32 or not 1 <= self.size_limit <= 512:
            raise UserError("search.variation allows depth_limit up to 32 and size_limit 1 to 512")
        self.mutation_weights.check()
        if self.attempts < 1:
            raise UserError("search.variation.attempts must be at least 1")


@dataclass
class TuneConfig:
    """The local optimiser of numbers, see `Tuner`.

    Attributes:
        share: chance that an attempt at an offspring is tuning instead of variation; 0 is never.
        top: how many of the best metrics with numbers are tuned, at random, with chances of 1, 1/2,
            1/3, … by their order.
        step: standard deviation of the first steps, in the logarithm of a number.
    """

    share: float = 0.0
    top: int = 3
    step: float = 0.3

    def check(self) -> None:
        """Raise a UserError for impossible values."""
        if not 0 <= self.share <= 1:
            raise UserError("search.tune.share must lie in [0, 1]")
        if self.top < 1:
            raise UserError("search.tune.top must be at least 1")
        if not 0 < self.step <= 2:
            raise UserError("search.tune.step must lie in (0, 2]")
