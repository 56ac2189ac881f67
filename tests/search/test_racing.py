"""Racing: who is stopped, what is estimated, and what can never happen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.errors import UserError
from pruner_zero.search.racing import RacingConfig, Rival, estimated_nll, is_hopeless, race

CONFIG = RacingConfig(margin=1.0)
TOKENS = 10


def run(losses, rival, config=CONFIG):
    asked = []

    def first(count):
        asked.append(count)
        return losses[:count]

    return race(first, len(losses), TOKENS, rival and Rival(tuple(rival)), config), asked


def test_rungs_until_hopeless():
    # Differences per token: 0.5, 0.7, 0.6, 0.6 nats. One window says nothing below the margin of
    # 1.0; t-tests: two windows 0.6 < 6.314 * 0.1 = 0.63; four windows stop it.
    rival = [20.0] * 8
    losses = [25.0, 27.0, 26.0, 26.0, 26.0, 26.0, 26.0, 26.0]
    result, asked = run(losses, rival)
    assert asked == [1, 2, 4]
    assert (result.losses, result.complete) == (tuple(losses[:4]), False)


def test_first_window_stops_beyond_the_margin_only():
    assert is_hopeless([31.0], Rival((*[20.0],)), TOKENS, CONFIG)
    assert not is_hopeless([29.9], Rival((*[20.0],)), TOKENS, CONFIG)


def test_constant_difference_is_decided_by_its_sign():
    assert is_hopeless([21.0, 31.0], Rival((*[20.0, 30.0],)), TOKENS, CONFIG)
    assert not is_hopeless([20.0, 30.0], Rival((*[20.0, 30.0],)), TOKENS, CONFIG)
    assert not is_hopeless([19.0, 29.0], Rival((*[20.0, 30.0],)), TOKENS, CONFIG)


@given(
    st.lists(st.floats(1, 100), min_size=1, max_size=16),
    st.floats(0, 5),
)
def test_one_that_is_no_worse_on_any_window_is_never_stopped(rival, better):
    result, _ = run([loss - better for loss in rival], rival)
    assert result.complete and len(result.losses) == len(rival)


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=2, max_size=16))
def test_higher_confidence_never_stops_more(pairs):
    losses, rival = zip(*pairs, strict=True)
    if is_hopeless(losses, Rival(rival), TOKENS, RacingConfig(confidence=0.99)):
        assert is_hopeless(losses, Rival(rival), TOKENS, RacingConfig(confidence=0.9))


def test_off_or_without_rival_every_window_is_evaluated():
    losses = [90.0] * 4
    assert run(losses, None)[0].complete
    result, asked = run(losses, [1.0] * 4, RacingConfig(enabled=False))
    assert result.complete and asked == [4]


def test_while_the_place_is_free_only_the_worthless_are_stopped():
    best = Rival((20.0, 20.0), holds_place=False)
    # 2 nats per token at any rung, and no test of confidence.
    assert is_hopeless([40.1], best, TOKENS, CONFIG)
    assert not is_hopeless([39.9, 39.9], best, TOKENS, CONFIG)
    assert is_hopeless([30.0, 51.0], best, TOKENS, CONFIG)


def test_infinite_loss_ends_the_race():
    result, asked = run([math.inf, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert result.losses == (math.inf,) and asked == [1]


def test_unknown_losses_leave_it_undecided():
    known = [90.0, 90.0]
    assert (
        race(lambda n: known[:n] if n <= 2 else None, 4, TOKENS, Rival((90.0,) * 4), CONFIG) is None
    )
    stopped = race(lambda n: known[:n] if n <= 2 else None, 4, TOKENS, Rival((9.0,) * 4), CONFIG)
    assert stopped is not None and not stopped.complete


def test_estimate_is_the_rival_plus_the_mean_difference():
    # Differences 2 and 4 nats on two windows of ten tokens: mean 3 per window, four windows.
    assert estimated_nll([12.0, 24.0], [10.0, 20.0, 30.0, 40.0], TOKENS) == pytest.approx(112.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rungs": [2, 1]}, "increasing"),
        ({"rungs": [0, 1]}, "from 1"),
        ({"confidence": 0.5}, "confidence"),
        ({"confidence": 1.0}, "confidence"),
        ({"margin": 0.0}, "margin"),
        ({"place": 0}, "place"),
        ({"abandon": 0.0}, "abandon"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(UserError, match=message):
        RacingConfig(**settings).check()


def test_windows_of_several_texts_in_turn_are_looked_at_when_all_were_seen_alike():
    assert RacingConfig().for_texts(1).rungs == [1, 2, 4, 8, 16]
    assert RacingConfig().for_texts(2).rungs == [2, 4, 8, 16]
    assert RacingConfig().for_texts(3).rungs == [3, 6, 9, 18]
