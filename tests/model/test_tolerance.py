"""Bisection and paired uncertainty, on curves that are known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.model.tolerance import Probe, compare_losses, highest_ratio


def curve(limit):
    """A measure whose change crosses 5 % exactly above ``limit``."""
    made = []

    def measure(ratio):
        made.append(ratio)
        change = 0.04 if ratio <= limit + 1e-9 else 0.06
        return Probe(f"{ratio:.4g}", ratio, 20 * (1 + change), change, 0.01)

    return measure, made


@given(st.integers(1, 90))
def test_the_last_step_within_the_tolerance_in_few_probes(step):
    measure, made = curve(step / 100)
    best, probes = highest_ratio(measure, 0.05, 0.01, 0.9)
    assert best is not None and best.ratio == pytest.approx(step / 100)
    assert len(made) == len(probes) <= 9
    assert len({round(r, 6) for r in made}) == len(made)


def test_nothing_fits_and_everything_fits():
    measure, made = curve(0.0)
    best, probes = highest_ratio(measure, 0.05, 0.01, 0.9)
    assert best is None and min(p.ratio for p in probes) == pytest.approx(0.01)
    measure, made = curve(1.0)
    best, _ = highest_ratio(measure, 0.05, 0.01, 0.9)
    assert best is not None and best.ratio == pytest.approx(0.9) and len(made) == 1


@given(st.integers(1, 99), st.integers(1, 99))
def test_no_probe_is_above_the_highest(resolution, highest):
    if resolution <= highest:
        measure, made = curve(1.0)
        highest_ratio(measure, 0.05, resolution / 100, highest / 100)
        assert max(made) == pytest.approx(highest // resolution * resolution / 100)


def test_change_and_interval_by_hand():
    # Two windows of 10 tokens; per-token differences 0.1 and 0.3: mean 0.2, deviation sqrt(0.02).
    probe = compare_losses("0.5", 0.5, [31.0, 33.0], [30.0, 30.0], [10, 10])
    assert probe.perplexity == pytest.approx(math.exp(3.2))
    assert probe.change == pytest.approx(math.exp(0.2) - 1)
    half = 12.706204736 * math.sqrt(0.02) / math.sqrt(2)
    assert probe.margin == pytest.approx(math.exp(0.2 + half) - math.exp(0.2))


def test_one_window_has_no_interval_and_infinite_losses_are_infinite():
    assert compare_losses("0.5", 0.5, [31.0], [30.0], [10]).margin == math.inf
    broken = compare_losses("0.5", 0.5, [math.inf, 1.0], [30.0, 30.0], [10, 10])
    assert broken.perplexity == broken.change == broken.margin == math.inf
