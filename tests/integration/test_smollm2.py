"""The real thing, short: SmolLM2-135M, real text, a search that improves."""

from __future__ import annotations

import json

import pytest

from pruner_zero import Metric, load_corpus, load_model, measure_statistics
from pruner_zero.__main__ import main
from pruner_zero.data.windows import calibration_windows, consecutive_windows
from pruner_zero.model.sparsity import parse_sparsity
from pruner_zero.search.worker import FitnessWorker

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def worker():
    model, tokenizer = load_model("smollm2-135m", device="cpu")
    corpus = load_corpus("wikipedia")
    calibration = calibration_windows(corpus.tokens("calibration", tokenizer), 4, 256, seed=0)
    statistics = measure_statistics(model, calibration)
    assert 10 < statistics.dense_perplexity < 60
    ids = consecutive_windows(corpus.tokens("search", tokenizer), 256, 2)
    return FitnessWorker(model, statistics, ids, parse_sparsity("0.5"))


def test_order_of_the_known_methods(worker):
    dense = worker.perplexity(None, worker.ids)
    wanda = worker.evaluate(Metric.named("wanda")).perplexity
    magnitude = worker.evaluate(Metric.named("magnitude")).perplexity
    assert 10 < dense < wanda < magnitude
    # The model is dense again after each evaluation, to the last bit.
    assert worker.perplexity(None, worker.ids) == dense


def test_twelve_evaluations_improve(tmp_path):
    folder = tmp_path / "run"
    status = main(
        ["search", "search.evaluations=12", "search.population_size=6", "search.generations=20",
         "search.minutes=null", "fitness.windows=1", "fitness.length=256", "test.windows=1",
         "test.length=256", "test.baselines=[magnitude]", "calibration.sequences=4",
         "calibration.length=256", f"hydra.run.dir={folder}", "device=cpu",
         # A ledger of its own: what an earlier run of this test computed must not answer here.
         f"ledger={tmp_path / 'ledger.sqlite'}"]
    )  # fmt: skip
    assert status == 0
    records = [json.loads(line) for line in (folder / "evaluations.jsonl").open()]
    assert sum(record["tokens"] > 0 for record in records) == 12
    found = [r["perplexity"] for r in records if r["perplexity"] is not None]
    first = next(r["perplexity"] for r in records if r["perplexity"] is not None)
    assert min(found) < first
    dense = json.loads((folder / "results.json").read_text())["search"]["dense_perplexity"]
    assert min(found) > dense
