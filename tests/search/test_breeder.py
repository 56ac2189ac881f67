"""Birth and variation: complete trees, limits, the scope gene, what is called what."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import fields

import pytest
from deap import gp
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.search.breeder import Breeder
from pruner_zero.search.config import SearchConfig
from pruner_zero.search.constants import number_places
from pruner_zero.search.mutations import mutate_hoist, mutate_node, mutate_power
from pruner_zero.search.primitives import primitive_set
from pruner_zero.search.randomness import drawing_from
from pruner_zero.search.variation import mutation_kinds
from pruner_zero.search.variation_config import MutationWeights, VariationConfig
from tests.search.numbers import born, exponents_are_numbers, is_complete, powers, words, written

POWERS = powers()
SCOPES = ["row", "layer", "model"]
KINDS = [weight.name for weight in fields(MutationWeights)]
NONE = dict.fromkeys(KINDS, 0.0)


def only(kind: str, **settings) -> SearchConfig:
    """Mutation of one kind alone, and no crossover."""
    variation = VariationConfig(
        mutation_weights=MutationWeights(**{**NONE, kind: 1.0}),
        max_depth=3,
        depth_limit=4,
        size_limit=12,
        **settings,
    )
    return SearchConfig(
        crossover_probability=0, mutation_probability=1, variation=variation, scopes=SCOPES
    )


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2000))
def test_every_mutation_keeps_trees_complete_and_within_limits(kind, seed):
    breeder = Breeder(POWERS, only(kind))
    with drawing_from(random.Random(seed)):
        child = breeder.newborn().individual
        for _ in range(10):
            child.number = 7
            before, scope = words(child), child.scope
            proposal = breeder.offspring(child, child)
            assert words(child) == before, "parents stay as they are"
            child = proposal.individual
            assert is_complete(child)
            assert exponents_are_numbers(child)
            assert len(child) <= 12
            assert child.height <= 4
            assert proposal.operation in (kind, "copy")
            assert proposal.parents == (7,)
            assert (child.scope != scope) == (kind == "scope")
            if kind == "hoist" and proposal.operation == "hoist":
                assert len(child) < len(before)
            if kind in ("constant", "scope"):
                assert child.height == written_height(before)


def written_height(names: list[str]) -> int:
    nodes = [float(name) if name[-1].isdigit() else name for name in names]
    return written(*nodes, primitives=POWERS).height


@pytest.mark.parametrize("init", ["grow", "full", "half_and_half"])
@given(seed=st.integers(0, 2000))
def test_birth_keeps_the_size_limit_that_deap_does_not_check(init, seed):
    variation = VariationConfig(min_depth=3, max_depth=5, size_limit=6, attempts=2)
    breeder = Breeder(POWERS, SearchConfig(init=init, variation=variation))
    with drawing_from(random.Random(seed)):
        proposal = breeder.newborn()
    assert len(proposal.individual) <= 6
    assert is_complete(proposal.individual)
    assert exponents_are_numbers(proposal.individual)
    assert (proposal.operation, proposal.individual.scope) == ("random", None)


def test_crossover_takes_material_and_sometimes_the_scope_of_the_second_parent():
    breeder = Breeder(POWERS, SearchConfig(crossover_probability=1, mutation_probability=0))
    mother = written("add", "W", "W", primitives=POWERS)
    father = written("mul", "G", "G", primitives=POWERS)
    mother.number, mother.scope, father.number, father.scope = 1, "row", 2, "model"
    with drawing_from(random.Random(0)):
        children = [breeder.offspring(mother, father) for _ in range(300)]
    assert {words(child.individual)[0] for child in children} == {"add"}
    assert all("G" in words(child.individual) for child in children)
    assert {(child.operation, child.parents) for child in children} == {("crossover", (1, 2))}
    scopes = Counter(child.individual.scope for child in children)
    assert 10 < scopes["model"] < 60 < scopes["row"]


def test_kinds_are_chosen_by_weight_among_those_that_can_change_something():
    leaf = written("W", primitives=POWERS)
    grows = {"node", "subtree", "insert", "power"}
    assert set(mutation_kinds(leaf, SearchConfig(), POWERS)) == grows
    tree = written("mul", "sqr", "W", 2.0, primitives=POWERS)
    assert set(mutation_kinds(tree, SearchConfig(), POWERS)) == set(KINDS) - {"scope"}
    tree.scope = "row"
    assert "power" not in mutation_kinds(tree, SearchConfig(), primitive_set("paper"))
    assert "scope" not in mutation_kinds(tree, SearchConfig(scopes=["row"]), POWERS)
    assert "scope" in mutation_kinds(tree, SearchConfig(scopes=["row", "model"]), POWERS)

    weights = MutationWeights(**{**NONE, "node": 3.0, "shrink": 1.0})
    config = SearchConfig(
        crossover_probability=0,
        mutation_probability=1,
        variation=VariationConfig(mutation_weights=weights),
    )
    breeder = Breeder(POWERS, config)
    with drawing_from(random.Random(0)):
        counts = Counter(breeder.offspring(tree, tree).operation for _ in range(400))
    assert set(counts) == {"node", "shrink"}
    assert 2 < counts["node"] / counts["shrink"] < 4.5


def test_operations_are_named_in_order():
    config = SearchConfig(crossover_probability=1, mutation_probability=1, scopes=SCOPES)
    breeder = Breeder(POWERS, config)
    with drawing_from(random.Random(0)):
        one, two = breeder.newborn().individual, breeder.newborn().individual
        named = {breeder.offspring(one, two).operation for _ in range(300)}
    assert named <= {f"crossover+{kind}" for kind in KINDS}
    assert {"crossover+subtree", "crossover+scope", "crossover+node"} <= named


@given(st.integers(0, 1000))
def test_node_mutation_always_changes_one_word_and_reaches_the_root(seed):
    with drawing_from(random.Random(seed)):
        tree = born(POWERS)
        before = words(tree)
        mutate_node(tree, POWERS)
    assert len(tree) == len(before)
    assert sum(a != b for a, b in zip(before, words(tree), strict=True)) == 1

    leaf = written("W", primitives=POWERS)
    with drawing_from(random.Random(seed)):
        mutate_node(leaf, POWERS)
    assert words(leaf) != ["W"]


def test_powers_are_put_on_what_is_no_power_and_no_number():
    exponents = []
    with drawing_from(random.Random(0)):
        for _ in range(300):
            tree = written("mul", "power", "W", 2.0, "G", primitives=POWERS)
            (tree,) = mutate_power(tree, POWERS)
            assert is_complete(tree) and exponents_are_numbers(tree)
            assert len(tree) == 7
            exponents += [float(w) for w in words(tree) if w[-1].isdigit() and w != "2.0"]
    assert len(exponents) == 300
    assert 0.8 < statistics.median(exponents) < 1.25
    assert min(exponents) < 0.6 and max(exponents) > 1.6


@given(st.integers(0, 1000))
def test_hoisting_keeps_a_subtree_and_prefers_operators(seed):
    with drawing_from(random.Random(seed)):
        tree = born(POWERS)
        before = list(tree)
        subtrees = [before[tree.searchSubtree(place)] for place in range(1, len(tree))]
        mutate_hoist(tree)
    assert list(tree) in (subtrees or [before])
    if any(len(subtree) > 1 for subtree in subtrees):
        assert len(tree) > 1


def test_shrink_and_insert_are_deaps():
    breeder = Breeder(POWERS, SearchConfig())
    assert breeder.toolbox.mutate_shrink.func is gp.mutShrink
    tree = written("mul", "sqr", "W", 2.0, primitives=POWERS)
    with drawing_from(random.Random(0)):
        breeder.toolbox.mutate_shrink(tree)
    assert words(tree) == ["mul", "W", "2.0"]
    assert number_places(tree) == [2]
    with drawing_from(random.Random(0)):
        (larger,) = breeder.toolbox.mutate_insert(tree)
    assert len(larger) > 3
