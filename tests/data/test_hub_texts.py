from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from pruner_zero import hub
from pruner_zero.data import hub_texts
from pruner_zero.data.corpus import SPLITS, load_corpus
from pruner_zero.errors import UserError

LINES = ["", " = First = \n", "", " Text . \n", " = = Section = = \n", " More . \n"]
LINES += ["", " = Second = \n", " Other . \n", ""]


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_texts, "offline_asked", lambda: False)
    monkeypatch.setattr(hub_texts, "hub_reachable", lambda: True)


def fake_load(*source: Any, split: str, data_files: Any = None, streaming: bool = False) -> Any:
    if "parquet" in source:
        assert data_files[split].startswith("hf://") and split in data_files[split]
        return {"sentence": [f"{split} sentence {i}" for i in range(400)]}
    if "allenai/c4" in source:
        assert streaming, "the whole of C4 must never be downloaded"

        def endless() -> Iterator[dict[str, str]]:
            for i in itertools.count():
                yield {"url": f"u{i}", "text": f"{split} {i} " * 10}

        return endless()
    lines = [line.replace("First", f"{split} {i}") for i in range(5) for line in LINES]
    return {"text": lines}


def test_wikitext_articles_join_to_the_published_text() -> None:
    articles = hub_texts.wikitext_articles(LINES)
    assert [article.title for article in articles] == ["First", "Second"]
    assert "\n\n".join(article.text for article in articles) == "\n\n".join(LINES)
    assert "\n\n".join(a.text for a in hub_texts.wikitext_articles(["x", "y"])) == "x\n\ny"


@pytest.mark.parametrize("name", ["wikitext2", "ptb", "c4"])
def test_hub_corpora_have_disjoint_splits_and_need_the_hub_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", fake_load)
    said: list[str] = []
    corpus = load_corpus(name, cache=tmp_path, announce=said.append)
    assert said == [f"Loading {name} from the hub"]
    seen: set[str] = set()
    for split in SPLITS:
        texts = set(corpus.documents[split])
        assert texts and not texts & seen
        seen |= texts
    assert "test" not in corpus.text("calibration")
    if name == "ptb":
        assert corpus.text("test") == " ".join(f"test sentence {i}" for i in range(400))
    monkeypatch.setattr(hub_texts, "hub_reachable", lambda: False)
    assert load_corpus(name, cache=tmp_path).fingerprint == corpus.fingerprint


def test_unreachable_hub_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_texts, "hub_reachable", lambda: False)
    with pytest.raises(UserError) as caught:
        load_corpus("wikitext2", cache=tmp_path)
    assert str(caught.value) == (
        "corpus=wikitext2 needs the hub, which cannot be reached: take corpus=wikipedia "
        "or your own text with corpus=files corpus.files=[my.txt]"
    )


def test_failing_data_set_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("gone\nwith a long tail")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"cannot be loaded from the hub \(gone\): take corpus=w"):
        load_corpus("c4", cache=tmp_path)
    monkeypatch.setattr(hub_texts, "offline_asked", lambda: True)
    with pytest.raises(UserError, match="while HF_HUB_OFFLINE is set"):
        load_corpus("c4", cache=tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_offline_variable_is_honoured_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.utils

    def no_request() -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(huggingface_hub.utils, "get_session", no_request)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.offline_asked() and not hub.hub_reachable()


def test_probe_gives_up_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.utils

    class Session:
        def head(self, url: str, timeout: float) -> None:
            assert timeout <= 5
            raise OSError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", Session)
    assert not hub.hub_reachable()


def test_libraries_are_quiet_inside_and_restored_after() -> None:
    from transformers.utils import logging as library

    verbosity, bar = library.get_verbosity(), library.is_progress_bar_enabled()
    with pytest.raises(KeyError), hub.quiet_libraries():
        assert not library.is_progress_bar_enabled()
        assert datasets.are_progress_bars_disabled()
        raise KeyError
    assert (library.get_verbosity(), library.is_progress_bar_enabled()) == (verbosity, bar)


def test_first_line_is_short() -> None:
    assert hub.first_line(ValueError("\n  one\ntwo")) == "one"
    assert (
        hub.first_line(ValueError("field 'x':\n  not a number\nmore")) == "field 'x': not a number"
    )
    assert hub.first_line(ValueError()) == "ValueError"
    assert len(hub.first_line(ValueError("x" * 999))) == 160
