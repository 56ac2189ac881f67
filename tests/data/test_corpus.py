from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruner_zero.data.corpus import SHARES, SPLITS, Corpus, build_corpus, deal, load_corpus
from pruner_zero.data.documents import Document
from pruner_zero.errors import UserError
from pruner_zero.model.tiny import byte_tokenizer

TEXTS = st.lists(st.text(alphabet="abcd", min_size=1, max_size=30), min_size=4, max_size=60)


def corpus_of(count: int = 40) -> Corpus:
    return build_corpus("x", {"all": [Document("", f"text {i} " * 20) for i in range(count)]})


@given(TEXTS, st.randoms(use_true_random=False))
def test_splits_share_nothing_and_ignore_the_order(texts: list[str], random: Any) -> None:
    hands = deal(texts, SPLITS)
    dealt = [text for hand in hands.values() for text in hand]
    assert sorted(dealt) == sorted(set(texts))
    if len(set(texts)) >= len(SPLITS):
        assert all(hands.values())
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert deal(shuffled, SPLITS) == hands


def test_shares_of_characters() -> None:
    texts = [f"{i} " * (50 + i % 37) for i in range(300)]
    hands = deal(texts, SPLITS)
    total = sum(map(len, texts))
    for split in SPLITS:
        assert sum(map(len, hands[split])) / total == pytest.approx(SHARES[split], abs=0.02)


def test_the_deal_is_fixed_for_all_time() -> None:
    # Numbers of different versions are compared: a change here must be a decision.
    assert corpus_of(8).fingerprint[:16] == FIXED_FINGERPRINT


FIXED_FINGERPRINT = "8debde0acafc92c6"


def test_fingerprint_follows_the_text() -> None:
    assert corpus_of().fingerprint == corpus_of().fingerprint
    assert corpus_of().fingerprint != corpus_of(41).fingerprint


def test_tokens_of_a_split(caplog: pytest.LogCaptureFixture) -> None:
    corpus, tokenizer = corpus_of(), byte_tokenizer()
    tokenizer.model_max_length = 10
    with caplog.at_level(logging.WARNING):
        tokens = corpus.tokens("search", tokenizer)
    assert tokens.dtype == torch.long and tokens.dim() == 1
    assert tokens.numel() == len(corpus.text("search"))
    assert corpus.tokens("search", tokenizer) is tokens
    assert corpus.tokens("search", byte_tokenizer()) is not tokens
    assert not caplog.records
    assert corpus.text("search") == "\n\n".join(corpus.documents["search"])
    with pytest.raises(UserError, match="did you mean 'search'"):
        corpus.text("serch")


def test_own_files(tmp_path: Path) -> None:
    file = tmp_path / "my.txt"
    file.write_text("\n\n".join(f"Paragraph {i}. " + "word " * 100 for i in range(60)))
    corpus = load_corpus("files", [str(file)])
    assert corpus.name == "files" and set(corpus.documents) == set(SPLITS)
    assert all(corpus.documents.values())
    file.write_text("Too short.")
    with pytest.raises(
        UserError, match=r"corpus=files has too few different documents \(1\) for its four splits"
    ):
        load_corpus("files", [str(file)])


def test_bad_names() -> None:
    with pytest.raises(UserError, match="unknown corpus 'wikitext': did you mean 'wikitext2'"):
        load_corpus("wikitext")
    with pytest.raises(UserError, match=r"corpus\.files is given, but corpus=news"):
        load_corpus("news", ["my.txt"])


def test_published_parts_keep_their_order_and_lose_nothing_to_training() -> None:
    groups = {
        "test": [Document("", text) for text in "zyx"],
        "validation": [Document("", text) for text in "wzv"],
        "train": [Document("", text) for text in ["x", "a", "b", "c", "a"]],
    }
    recipe = {"test": ("test",), "validation": ("validation",), "train": ("calibration", "search")}
    corpus = build_corpus("x", groups, recipe)
    assert corpus.documents["test"] == ("z", "y", "x")
    assert corpus.documents["validation"] == ("w", "v")
    trained = corpus.documents["calibration"] + corpus.documents["search"]
    assert sorted(trained) == ["a", "b", "c"]


@pytest.mark.model
@pytest.mark.parametrize(("name", "least", "most"), [("wikipedia", 5e5, 9e5), ("news", 5e4, 1e5)])
def test_embedded_corpora(name: str, least: float, most: float) -> None:
    from pruner_zero.model.loading import load_model

    corpus = load_corpus(name)
    _, tokenizer = load_model()
    counts = {split: corpus.tokens(split, tokenizer).numel() for split in SPLITS}
    assert least < sum(counts.values()) < most
    for split in SPLITS:
        assert counts[split] / sum(counts.values()) == pytest.approx(SHARES[split], abs=0.02)
    texts = [text for split in SPLITS for text in corpus.documents[split]]
    assert len(texts) == len(set(texts))
