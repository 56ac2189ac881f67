"""Impossible settings are refused in one line, before anything is loaded."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pruner_zero.errors import UserError
from pruner_zero.metric import Metric
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.search.config import SearchConfig, check_scopes
from pruner_zero.search.seeds import Seed
from pruner_zero.search.variation_config import MutationWeights, TuneConfig, VariationConfig
from tests.search.landscapes import make

NO_WEIGHTS = MutationWeights(**{kind.name: 0.0 for kind in fields(MutationWeights)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "stedy_state"}, "did you mean 'steady_state'"),
        ({"objectives": "part"}, "did you mean 'parts'"),
        ({"objectives": "parts"}, "is for nsga2"),
        ({"algorithm": "nsga"}, "unknown search.algorithm 'nsga': did you mean 'nsga2'"),
        ({"init": "half"}, "unknown search.init 'half': "),
        ({"diversity": "shaering"}, "did you mean 'sharing'"),
        ({"diversity": "age", "algorithm": "nsga2"}, "not for nsga2"),
        ({"scopes": ["row", "modle"]}, "unknown search.scopes 'modle': did you mean 'model'"),
        ({"scopes": ["row", "row"]}, "names row twice"),
        ({"population_size": 1}, "population_size must be at least 2"),
        ({"offspring_size": 5}, "not for steady_state"),
        ({"offspring_size": 0, "algorithm": "nsga2"}, "offspring_size must be at least 1"),
        ({"seeds": ["wnda"]}, "did you mean 'wanda'"),
        ({"seeds": ["mul(W"]}, "position 6"),
        ({"seeds": ["wanda@rows"]}, "unknown scope in 'wanda@rows': did you mean 'row'"),
        ({"seeds": ["wanda@"]}, "unknown scope in 'wanda@'"),
        ({"seeds": ["W"] * 11}, "more than search.population_size"),
        ({"constants": [float("inf")]}, "must be finite numbers"),
        ({"constants": [1, 1.0]}, "twice: drop one"),
        ({"pool_ratio": 0.0}, "pool_ratio must lie in"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"hall_of_fame": 0}, "hall_of_fame must be at least 1"),
        ({"generations": -1}, "generations must not be negative"),
        ({"evaluations": 0}, "evaluations must be at least 1"),
        ({"minutes": 0.0}, "minutes must be above 0"),
        ({"stagnation": 0}, "stagnation must be at least 1"),
        ({"variation": VariationConfig(max_depth=9)}, "min_depth <= max_depth <= depth_limit"),
        ({"variation": VariationConfig(size_limit=0)}, "size_limit 1 to 512"),
        ({"mutation_probability": 2}, "must lie in [0, 1]"),
        ({"crossover_probability": -0.1}, "must lie in [0, 1]"),
        ({"immigrants": 1.5}, "search.immigrants must lie in [0, 1]"),
        ({"variation": VariationConfig(attempts=0)}, "attempts must be at least 1"),
        (
            {"variation": VariationConfig(mutation_weights=MutationWeights(hoist=-1))},
            "mutation_weights.hoist must be a number from 0 up",
        ),
        ({"variation": VariationConfig(mutation_weights=NO_WEIGHTS)}, "mutation_weights are all 0"),
        ({"tune": TuneConfig(share=1.1)}, "tune.share must lie in [0, 1]"),
        ({"tune": TuneConfig(top=0)}, "tune.top must be at least 1"),
        ({"tune": TuneConfig(step=0)}, "tune.step must lie in (0, 2]"),
    ],
)
def test_impossible_settings_are_refused_early(settings, message):
    with pytest.raises(UserError) as error:
        make(**settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_mutation_needs_no_weights():
    make(mutation_probability=0, variation=VariationConfig(mutation_weights=NO_WEIGHTS))


def test_seeds_are_names_or_formulas_with_or_without_a_scope():
    config = SearchConfig(seeds=["wanda", "mul(W, G)", "X", "wanda@model", " mul(W, G) @ layer "])
    wanda, product = Metric.named("wanda"), Metric.parse("mul(W, G)")
    assert config.known_metrics() == [
        Seed(wanda),
        Seed(product),
        Seed(Metric.parse("X")),
        Seed(wanda, "model"),
        Seed(product, "layer"),
    ]


@pytest.mark.parametrize("settings", [{"scopes": ["row"]}, {"seeds": ["W", "wanda@model"]}])
def test_scopes_need_a_pattern_that_has_them(settings):
    config = SearchConfig(**settings)
    check_scopes(config, Unstructured(0.5))
    check_scopes(SearchConfig(seeds=["wanda"]), NofM(2, 4))
    with pytest.raises(UserError, match=r"sparsity 2:4 competes inside each group: drop"):
        check_scopes(config, NofM(2, 4))


def test_generations_of_broods():
    config = SearchConfig(algorithm="nsga2", population_size=10, offspring_size=4, generations=3)
    assert config.candidates == 22
    numbers = [[n for n in range(1, 23) if config.generation(n) == g] for g in range(4)]
    assert [len(brood) for brood in numbers] == [10, 4, 4, 4]
    assert SearchConfig(population_size=10, generations=6).candidates == 70


def test_a_seed_in_every_scope():
    config = SearchConfig(seeds=["wanda@all", "W@layer", "G"], scopes=["row", "model"])
    config.check()
    found = [(str(seed.metric), seed.scope) for seed in config.known_metrics()]
    wanda = "mul(W, sqrt(X))"
    assert found == [(wanda, "row"), (wanda, "model"), ("W", "layer"), ("G", None)]
    with pytest.raises(UserError, match=r"needs search\.scopes"):
        SearchConfig(seeds=["wanda@all"]).check()
    with pytest.raises(UserError, match="holds 4 metrics"):
        SearchConfig(
            seeds=["wanda@all"], scopes=["row", "layer", "block", "model"], population_size=3
        ).check()
