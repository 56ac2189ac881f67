from __future__ import annotations

import math

import pytest
import torch
from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

from pruner_zero.errors import OutOfDeviceMemory, UserError
from pruner_zero.model.flow import BlockFlow
from pruner_zero.model.head import CausalHead
from pruner_zero.model.hosted import HostedBlocks
from pruner_zero.model.perplexity import (
    check_dense,
    negative_log_likelihoods,
    perplexity,
    perplexity_of,
)

SMALL = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


def by_transformers(model, windows):
    total = tokens = 0.0
    with torch.no_grad():
        for window in windows:
            total += float(model(window[None], labels=window[None]).loss) * (len(window) - 1)
            tokens += len(window) - 1
    return math.exp(total / tokens)


def test_equals_the_loss_of_transformers(tiny, ids):
    assert perplexity(tiny, ids) == pytest.approx(by_transformers(tiny, ids), rel=1e-5)


@pytest.mark.parametrize("batch", [None, 1, 2, 7])
@pytest.mark.parametrize("chunk", [None, 1, 5])
def test_windows_batches_and_chunks(tiny, ids, batch, chunk):
    # 12 tokens in windows of 5, 5 and 2: the last predicts a single token and counts as one.
    windows = [piece for row in ids for piece in row.split(5)]
    got = perplexity(tiny, ids, window=5, batch=batch, chunk=chunk)
    assert got == pytest.approx(by_transformers(tiny, windows), rel=1e-5)
    nll, tokens = negative_log_likelihoods(tiny, ids, window=5, batch=batch, chunk=chunk)
    assert tokens.tolist() == [4, 4, 1] * 3
    assert nll.dtype == torch.float64
    assert math.exp(nll.sum() / tokens.sum()) == pytest.approx(got)


def test_a_single_left_over_token_predicts_nothing(tiny, ids):
    _, tokens = negative_log_likelihoods(tiny, ids[:, :11], window=5)
    assert tokens.tolist() == [4, 4] * 3


@pytest.mark.parametrize(
    "model",
    [
        Gemma2ForCausalLM(
            Gemma2Config(**SMALL, head_dim=4, final_logit_softcapping=2.0, pad_token_id=0)
        ),
        CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.25, pad_token_id=0)),
    ],
    ids=["softcap", "scale"],
)
def test_what_follows_the_output_layer_is_not_forgotten(model, ids):
    model.eval()
    assert CausalHead.of(model).decoder is not None
    assert perplexity(model, ids) == pytest.approx(by_transformers(model, ids), rel=1e-4)


def test_an_unknown_head_falls_back_to_the_whole_model(tiny, ids):
    plain = tiny.forward

    def doubled(*args, **kwargs):
        output = plain(*args, **{key: v for key, v in kwargs.items() if key != "labels"})
        output.logits = output.logits * 2
        return output

    tiny.forward = doubled
    assert CausalHead.of(tiny).decoder is None
    logits = tiny(ids).logits[:, :-1].detach()
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 61), ids[:, 1:].reshape(-1))
    assert perplexity(tiny, ids) == pytest.approx(math.exp(float(expected)), rel=1e-5)


def test_the_mode_is_restored(tiny, ids):
    tiny.train()
    tiny.model.norm.eval()
    perplexity(tiny, ids)
    assert tiny.training
    assert not tiny.model.norm.training


def test_broken_weights_give_inf(tiny, ids):
    with torch.no_grad():
        tiny.model.layers[0].mlp.up_proj.weight.fill_(float("nan"))
    assert perplexity(tiny, ids) == math.inf
    assert perplexity_of(1e9, 2) == math.inf


def test_ids_longer_than_the_positions_are_refused(tiny):
    long = torch.zeros(1, 100, dtype=torch.long)
    with pytest.raises(UserError, match="100 tokens are longer than the model's 64 positions"):
        perplexity(tiny, long)
    assert perplexity(tiny, long, window=64) > 1


def test_out_of_memory_halves_the_batch_then_names_the_setting(tiny, ids, monkeypatch):
    plain = CausalHead.hidden
    sizes: list[int] = []

    def hungry(limit):
        def hidden(self, ids):
            sizes.append(len(ids))
            if len(ids) > limit:
                raise torch.OutOfMemoryError("no")
            return plain(self, ids)

        return hidden

    expected = perplexity(tiny, ids)
    head = CausalHead.of(tiny)
    monkeypatch.setattr(CausalHead, "hidden", hungry(1))
    assert perplexity(tiny, ids, batch=2, head=head) == pytest.approx(expected)
    assert sizes == [2, 1, 1, 1]
    monkeypatch.setattr(CausalHead, "hidden", hungry(0))
    sizes.clear()
    with pytest.raises(UserError, match="smaller window"):
        perplexity(tiny, ids, batch=2, head=head)
    assert sizes == [2, 1, 1]  # the last one with a smaller chunk
    sizes.clear()
    eight = ids[[0] * 8]
    with pytest.raises(OutOfDeviceMemory, match="set memory=blockwise"):
        perplexity(tiny, eight, batch=8, head=head)
    assert sizes == [8, 4, 1]  # the batch is halved once


def test_out_of_memory_with_one_block_names_the_windows(tiny, ids, monkeypatch):
    HostedBlocks(tiny, torch.device("cpu"))
    head = CausalHead.of(tiny)

    def hungry(self, block, keep):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(BlockFlow, "run", hungry)
    with pytest.raises(OutOfDeviceMemory, match="one block and 3 windows of 12 tokens: set fewer"):
        perplexity(tiny, ids, head=head)


def test_an_absurd_dense_model_is_called_so():
    assert check_dense(17.0) is None
    assert "tokenizer" in check_dense(50_000.0)
    for broken in (math.inf, math.nan):
        with pytest.raises(UserError, match="perplexity is not finite: the checkpoint is broken"):
            check_dense(broken)
