"""A compiled decoder gives the same losses and is not compiled again for every candidate."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.metric import Metric
from pruner_zero.model.sparsity import Unstructured
from pruner_zero.model.statistics import measure_statistics
from pruner_zero.search.worker import FitnessWorker

from .conftest import tiny_llama


@pytest.fixture
def compilations(monkeypatch):
    """The graphs that are compiled, by a backend that runs them as they are."""
    graphs = []
    plain = torch.compile

    def backend(graph, example_inputs):
        del example_inputs
        graphs.append(graph)
        return graph.forward

    def compile_with_it(module, **settings):
        return plain(module, **{**settings, "backend": backend})

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", compile_with_it)
    yield graphs
    torch._dynamo.reset()


def test_weights_and_windows_may_change_without_a_new_compilation(compilations):
    ids = torch.randint(0, 61, (5, 12), generator=torch.Generator().manual_seed(1))
    model = tiny_llama()
    statistics = measure_statistics(model, ids)
    plain = FitnessWorker(model, statistics, ids, Unstructured(0.5))
    compiled = FitnessWorker(model, statistics, ids, Unstructured(0.5), compile=True)
    names = ("wanda", "magnitude", "gblm", "ria", "gradient")
    assert not compilations
    first = compiled.evaluate(Metric.named(names[0]))
    after_first = len(compilations)
    assert after_first > 0
    for name in names[1:]:
        result = compiled.evaluate(Metric.named(name))
        expected = plain.evaluate(Metric.named(name))
        assert result.perplexity == pytest.approx(expected.perplexity, rel=1e-5)
    assert len(compilations) == after_first
    assert first.perplexity == pytest.approx(plain.evaluate(Metric.named("wanda")).perplexity)
    compiled.perplexity(None, ids[:, :9])  # shorter windows: shapes are dynamic
    compiled.perplexity(None, ids[:, :7])
    assert len(compilations) <= after_first + 1
