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
