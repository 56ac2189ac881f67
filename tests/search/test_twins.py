"""Individuals with the same masks: which of them stays."""

from __future__ import annotations

from pruner_zero.search.twins import same_masks, without_twins
from tests.search.people import numbers, person


def test_failures_are_nobodys_twins():
    assert not same_masks(person("W"), person("W"))
    assert same_masks(person("W", digest="a"), person("sqr(W)", digest="a"))


def test_the_complete_then_the_short_then_the_old_one_stays_in_the_first_place():
    members = [
        person("sqr(W)", number=1, digest="a"),
        person("G", number=2, digest="b", complete=False),
        person("X", number=3, digest=None),
        person("W", number=4, digest="a"),
        person("add(G, G)", number=5, digest="b"),
        person("G", number=6, digest="b", complete=False),
        person("W", number=7, digest="a"),
        person("X", number=8, digest=None),
    ]
    assert numbers(without_twins(members)) == [4, 5, 3, 8]


def test_of_a_family_the_fittest_stays():
    members = [
        person("mul(W, power(G, 0.5))", 40.0, 1, digest="1"),
        person("mul(W, power(G, 0.7))", 39.0, 2, digest="2"),
        person("mul(W, power(G, 0.9))", 41.0, 3, digest="3"),
        person("mul(W, power(G, 0.9))", 38.0, 4, digest="4", scope="model"),
        person("mul(W, power(X, 0.9))", 42.0, 5, digest="5"),
        person("mul(W, G)", 40.0, 6, digest="6"),
        person("mul(W, G)", 40.5, 7, digest="7"),  # no numbers: another one with other masks
    ]
    assert numbers(without_twins(members)) == [2, 4, 5, 6, 7]


def test_one_that_is_twin_of_two_takes_both_places_or_none():
    members = [person("mul(W, 2.0)", 5.0, 1, digest="a"), person("G", 5.0, 2, digest="b")]
    for value, expected in ((4.0, [3]), (6.0, [1, 2])):
        both = person("mul(W, 3.0)", value, 3, digest="b")
        assert numbers(without_twins([*members, both])) == expected
