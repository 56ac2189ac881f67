"""Models and statistics as bytes: the same numbers on the other side, shared where only read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pruner_zero.metric import Metric
from pruner_zero.model.layers import prunable_layers
from pruner_zero.model.sparsity import NofM, Unstructured
from pruner_zero.model.tiny import random_tiny
from pruner_zero.search.ledger import Ledger
from pruner_zero.search.racing import Rival
from pruner_zero.search.worker import FitnessWorker
from pruner_zero.search.workers.kit import Kit
from pruner_zero.search.workers.notebook import Note, Notebook
from pruner_zero.search.workers.portable import PortableModel, PortableTensor
from pruner_zero.search.workers.remote import RemoteWorker
from tests.search.workers.conftest import IDS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_travels_bit_for_bit_beside_its_skeleton(dtype):
    model = random_tiny()[0].to(dtype).requires_grad_(False).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    portable = PortableModel.of(model)
    assert all(p.is_meta for p in portable.skeleton.parameters())
    built = portable.build("cpu")
    assert isinstance(built, type(model)) and not built.training
    for name, value in built.state_dict().items():
        assert value.dtype == dtype or not value.is_floating_point()
        assert value.equal(before[name])
    assert built.get_output_embeddings().weight is built.get_input_embeddings().weight
    assert built(IDS).logits.equal(model(IDS).logits)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.zero_()
    assert all(portable.weights()[n].equal(p) for n, p in model.named_parameters())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_tensors_keep_dtype_and_shape():
    for tensor in (
        torch.tensor(2.5),
        torch.zeros(0, 3),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([True, False]),
        nn.Parameter(torch.ones(2, dtype=torch.float16)),
    ):
        view = PortableTensor.of(tensor).view()
        assert (view.dtype, view.shape) == (tensor.dtype, tensor.shape)
        assert view.equal(tensor)


def test_workers_of_a_kit_compute_what_the_worker_here_computes(fitness, kit):
    here = fitness()
    (worker,) = kit.workers("cpu")
    rival = Rival(here.compute(Metric.named("wanda")).losses)
    for formula in ("W", "mul(W, G)", "sub(G, G)", "neg(W)", "mul(sqr(W), X)"):
        for scope in (None, "model"):
            one = here.compute(Metric.parse(formula), scope, rival).record()
            other = worker.compute(Metric.parse(formula), scope, rival).record()
            assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_parts_of_one_model_share_it(parts, kit):
    model, statistics = parts
    patterns = (Unstructured(0.5), NofM(2, 4))
    kit = Kit.of([FitnessWorker(model, statistics, IDS, pattern) for pattern in patterns])
    assert len(kit.models) == 1
    one, two = kit.workers("cpu")
    assert one.model is two.model and one.dense is two.dense
    assert [one.pattern, two.pattern] == list(patterns)
    tensors = [*model.parameters(), *model.buffers(), *statistics.G.values(),
               *statistics.X.values()]  # fmt: skip
    assert kit.size == sum(t.numel() * t.element_size() for t in tensors)


def test_dense_weights_and_statistics_are_not_copied_on_the_cpu(kit):
    (one,), (two,) = kit.workers("cpu"), kit.workers("cpu")
    for layer, other in zip(prunable_layers(one.model), prunable_layers(two.model), strict=True):
        assert layer.weight.data_ptr() != other.weight.data_ptr()
        assert one.dense.weight(layer).data_ptr() == two.dense.weight(other).data_ptr()
        shared = [w.statistics.G[layer.name].data_ptr() for w in (one, two)]
        assert shared[0] == shared[1]


def test_what_workers_find_travels_to_the_ledger(fitness):
    here = fitness("ledger")
    known = here.evaluate(Metric.named("wanda"))
    remote = RemoteWorker(Kit.of([here]), "cpu", torch.get_num_threads())
    again = remote.compute(Metric.named("wanda"), None, None, [])
    assert (again.result.known_by, again.result.losses) == ("ledger", known.losses)
    assert again.news == [[]]
    new = remote.compute(Metric.parse("W"), None, None, [])
    ((note,),) = new.news
    assert (note.key, note.digest, note.losses) == (("W", "row"), new.result.digest,
                                                    new.result.losses)  # fmt: skip
    # What was told counts as known: no second forward pass.
    other = RemoteWorker(Kit.of([here]), "cpu", torch.get_num_threads())
    told = [("W", None, new.result)]
    assert other.compute(Metric.parse("sqr(W)"), None, None, told).result.known_by == "digest"


def test_a_notebook_keeps_the_longest_losses_and_gives_news_once():
    book = Notebook({}, {})
    book.record("W", "row", "a", (1.0, 2.0), 0.1)
    book.record("neg(W)", "row", "a", (1.0,), 0.1)
    assert book.losses("a") == (1.0, 2.0)
    assert book.digest("neg(W)", "row") == "a" and book.digest("G", "row") is None
    assert book.take() == [Note(("W", "row"), "a", (1.0, 2.0), 0.1),
                           Note(("neg(W)", "row"), "a", (1.0,), 0.1)]  # fmt: skip
    assert book.take() == []


def test_a_ledgers_snapshot_is_all_of_its_context(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    context = ledger.context({"a": 1})
    context.record("W", "row", "d", (1.0, 2.0), 0.1)
    ledger.context({"a": 2}).record("G", "row", "e", (3.0,), 0.1)
    assert context.snapshot() == ({("W", "row"): "d"}, {"d": (1.0, 2.0)})
