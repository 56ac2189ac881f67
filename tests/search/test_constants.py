"""Numbers keep their canonical spelling; exponents are always numbers."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.metric.expression import canonical_number
from pruner_zero.search.constants import (
    EXPONENTS,
    move_number,
    number,
    number_places,
    repair_exponents,
)
from pruner_zero.search.primitives import primitive_set, tree_to_metric
from pruner_zero.search.randomness import drawing_from
from tests.search.numbers import born, exponents_are_numbers, is_complete, powers, words, written

POWERS = powers()


@given(st.floats(-1e6, 1e6, allow_nan=False))
def test_numbers_have_one_short_spelling(value):
    text = str(number(value, object).value)
    assert canonical_number(text) == text
    assert float(text) == pytest.approx(value, rel=5e-4)
    assert len(text.lstrip("-").replace(".", "").split("e")[0].strip("0")) <= 4


@given(st.integers(0, 5000))
def test_every_exponent_is_a_number_after_repair(seed):
    with drawing_from(random.Random(seed)):
        tree = born(POWERS)
        before = words(tree)
        needed = not exponents_are_numbers(tree)
        repair_exponents(tree)
    assert is_complete(tree)
    assert exponents_are_numbers(tree)
    assert (words(tree) != before) == needed, "a good tree stays as it is"


def test_repair_replaces_the_whole_exponent_and_nothing_else():
    tree = written("power", "power", "W", "G", "mul", "W", "X", primitives=POWERS)
    with drawing_from(random.Random(0)):
        repair_exponents(tree)
    outer, inner, base, one, two = words(tree)
    assert (outer, inner, base) == ("power", "power", "W")
    assert {float(one), float(two)} <= {float(f"{e:.4g}") for e in EXPONENTS}


def test_a_number_takes_log_normal_steps_of_either_direction():
    with drawing_from(random.Random(0)):
        moved = []
        for _ in range(400):
            tree = written("mul", "W", -3.0, primitives=POWERS)
            move_number(tree, 2, 0.2)
            moved.append(float(tree[2].value))
    steps = [math.log(value / -3.0) for value in moved]  # the sign stays
    assert statistics.mean(steps) == pytest.approx(0, abs=0.03)
    assert statistics.stdev(steps) == pytest.approx(0.2, rel=0.1)


def test_numbers_stay_within_bounds_and_exponents_within_narrower_ones():
    tree = written("power", "mul", "W", 3.0, 3.0, primitives=POWERS)
    factor, exponent = number_places(tree)
    largest = {factor: 0.0, exponent: 0.0}
    with drawing_from(random.Random(0)):
        for _ in range(300):
            for place in largest:
                move_number(tree, place, 2.0)
                largest[place] = max(largest[place], float(tree[place].value))
    assert 4.0 < largest[factor] <= 1e6
    assert largest[exponent] == 4.0


def test_offered_numbers_are_drawn_and_read_back():
    primitives = primitive_set("paper", constants=[1, 0.3333])
    seen = set()
    with drawing_from(random.Random(0)):
        for _ in range(50):
            metric = tree_to_metric(born(primitives))
            assert type(metric).parse(str(metric)) == metric
            seen |= {node.label for node in metric.expression.nodes() if node.is_constant}
    assert seen == {"1.0", "0.3333"}
