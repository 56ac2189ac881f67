"""Joint fitness: the geometric mean of the parts, and nothing evaluated twice."""

from __future__ import annotations

import json
import math

import pytest

from pruner_zero.metric import Metric
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.search.individual import Candidate, FitnessResult, Individual
from pruner_zero.search.joint import JointWorker
from pruner_zero.search.primitives import metric_to_nodes, primitive_set
from pruner_zero.search.worker import FitnessWorker
from tests.search.test_worker import IDS, model, statistics  # noqa: F401 (fixtures)


@pytest.fixture
def parts(model, statistics):  # noqa: F811
    patterns = (Unstructured(0.5), NofM(2, 4))
    return [FitnessWorker(model, statistics, IDS, pattern) for pattern in patterns]


def test_geometric_mean_of_the_parts(parts, model, statistics):  # noqa: F811
    wanda = Metric.named("wanda")
    result = JointWorker(parts).evaluate(wanda, "layer")
    alone = [
        FitnessWorker(model, statistics, IDS, Unstructured(0.5)).evaluate(wanda, "layer"),
        FitnessWorker(model, statistics, IDS, NofM(2, 4)).evaluate(wanda),
    ]
    assert result.perplexity == pytest.approx(
        math.sqrt(alone[0].perplexity * alone[1].perplexity), rel=1e-12
    )
    assert result.losses == alone[0].losses + alone[1].losses
    assert result.cost == result.tokens == 2 * alone[0].tokens


def test_known_masks_cost_nothing_and_repeats_show(parts):
    joint = JointWorker(parts)
    first = joint.evaluate(Metric.named("wanda"))
    assert joint.looks_known(Metric.parse("mul(sqr(W), X)"), None)
    again = joint.evaluate(Metric.parse("mul(sqr(W), X)"))
    assert (again.digest, again.perplexity) == (first.digest, first.perplexity)
    assert (again.cost, again.known_by) == (0, "digest")
    # The scope matters to one part only, and so the whole is another one.
    other = joint.evaluate(Metric.named("wanda"), "model")
    assert other.digest != first.digest and other.cost == first.cost // 2


def test_failure_in_one_part_is_a_failure(parts):
    result = JointWorker(parts).evaluate(Metric.parse("mms(sub(W, W))"))
    assert math.isinf(result.perplexity) and "NaN" in result.reason
    assert result.digest is None and len(result.parts) == 1


def test_a_resumed_joint_worker_knows_what_the_log_knows(parts, model, statistics):  # noqa: F811
    wanda = Metric.named("wanda")
    result = JointWorker(parts).evaluate(wanda, "layer")
    individual = Individual(metric_to_nodes(wanda, primitive_set()))
    individual.scope = "layer"
    candidate = Candidate(1, 0, "random", (), wanda, wanda, individual)
    record = json.loads(json.dumps(candidate.record(result)))
    patterns = (Unstructured(0.5), NofM(2, 4))
    fresh = JointWorker([FitnessWorker(model, statistics, IDS, p) for p in patterns])
    fresh.remember(record)
    assert fresh.looks_known(wanda, "layer")
    known = fresh.evaluate(wanda, "layer")
    assert (known.perplexity, known.digest) == (result.perplexity, result.digest)
    assert (known.cost, known.known_by) == (0, "expression")


def test_a_candidate_that_its_workers_did_not_survive_is_taken_back(parts):
    lost = FitnessResult(float("inf"), reason="lost 2 workers")
    record = {"simplified": "W", "scope": None, **lost.record()}
    assert "parts" not in record
    joint = JointWorker(parts)
    joint.remember(record)
    assert joint.evaluate(Metric.parse("W")).reason is None
