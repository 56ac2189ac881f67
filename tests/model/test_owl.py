from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.model.owl import outlier_shares, owl_ratios
from pruner_zero.model.statistics import Statistics

from .conftest import linear_layer


def test_outlier_shares_by_hand():
    # Block 0: scores 1 fifteen times and 99 once (mean 7.125, limit 35.6): one of 16 above.
    # Block 1: all 1: none. X = 4 doubles every score and moves nothing.
    first = torch.ones(2, 8)
    first[1, 3] = -99
    layers = [linear_layer(first, "a"), linear_layer(torch.ones(4, 8), "b", block=1)]
    X = {layer.name: torch.full((1, 8), 4.0) for layer in layers}
    shares = outlier_shares(layers, Statistics({"X": X}))
    assert shares == {0: 6.25, 1: 0.0}


def test_the_blocks_mean_is_over_all_its_layers():
    layers = [linear_layer(torch.full((1, 8), 9.0), "a"), linear_layer(torch.ones(7, 8), "b")]
    X = {layer.name: torch.ones(1, 8) for layer in layers}
    # Mean (8·9 + 56·1)/64 = 2; above 4·2: the 8 nines.
    assert outlier_shares(layers, Statistics({"X": X}), factor=4) == {0: 12.5}


def test_ratios_by_hand():
    # Densities before the shift: 0, 0.08, 0.16 (mean 0.08); shift 0.5 − 0.08.
    ratios = owl_ratios({0: 1.0, 1: 2.0, 2: 3.0}, 0.5)
    assert ratios == pytest.approx({0: 0.58, 1: 0.5, 2: 0.42})
    assert owl_ratios({0: 1.0, 1: 1.0}, 0.6) == {0: 0.6, 1: 0.6}


def test_ratios_outside_the_unit_interval_are_refused():
    with pytest.raises(UserError, match="uniform"):
        owl_ratios({0: 0.0, 1: 1.0}, 0.95)
