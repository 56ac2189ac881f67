"""A corpus: named text in four splits that never share a document.

Calibration text feeds the statistics, search text the fitness, validation text choices made by a
person, test text the numbers that are reported. The splits depend on the text alone, never on a
run's seed, so that results of different runs can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pruner_zero.assets import Announce, cache_directory, silent
from pruner_zero.data.documents import file_documents, news_documents
from pruner_zero.data.hub_texts import HUB_NAMES, hub_documents
from pruner_zero.data.store import Groups
from pruner_zero.data.wikipedia import wikipedia_documents
from pruner_zero.errors import UserError, suggest

SPLITS = ("calibration", "search", "validation", "test")
SHARES = {"calibration": 0.35, "search": 0.20, "validation": 0.15, "test": 0.30}
NAMED_CORPORA = ("wikipedia", "news", *HUB_NAMES)
CORPORA = (*NAMED_CORPORA, "files")

# Which part of a source goes to which splits. Published held-out parts come first: a document
# found in an earlier line is dropped from the later ones.
_WHOLE = {"all": SPLITS}
_PUBLISHED = {
    "test": ("test",),
    "validation": ("validation",),
    "train": ("calibration", "search"),
}
_RECIPES: dict[str, dict[str, tuple[str, ...]]] = {
    "wikitext2": _PUBLISHED,
    "ptb": _PUBLISHED,
    "c4": {"validation": ("search", "validation", "test"), "train": ("calibration",)},
}


@dataclass(frozen=True)
class Corpus:
    """Text in splits.

    Attributes:
        name: the name it was loaded by.
        documents: the texts of each of `SPLITS`, in a fixed order.
    """

    name: str
    documents: Mapping[str, tuple[str, ...]]
    _tokens: dict[tuple[int, str], tuple[Any, torch.Tensor]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def text(self, split: str) -> str:
        """Return a split's documents joined by blank lines.

        Args:
            split: one of `SPLITS`.

        Raises:
            UserError: unknown split.
        """
        if split not in self.documents:
            raise UserError(f"unknown split '{split}': {suggest(split, self.documents)}")
        return "\n\n".join(self.documents[split])

    def tokens(self, split: str, tokenizer: Any) -> torch.Tensor:
        """Tokenize a whole split; the result is kept in memory, so do not change it in place.

        Args:
            split: one of `SPLITS`.
            tokenizer: a transformers tokenizer; its usual special tokens are added once.

        Returns:
            Token numbers, int64 [T].

        Raises:
            UserError: unknown split.
        """
        key = (id(tokenizer), split)
        known = self._tokens.get(key)
        # The tokenizer is kept beside its tokens: an id is unique only while its object lives.
        if known is not None and known[0] is tokenizer:
            return known[1]
        # verbose=False: the text is longer than the model's positions, windows are cut later.
        encoded = tokenizer(self.text(split), verbose=False)["input_ids"]
        tokens = torch.tensor(encoded, dtype=torch.long)
        self._tokens[key] = (tokenizer, tokens)
        return tokens

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the texts of all splits, hex: equal exactly when all texts are."""
        digest = hashlib.sha256()
        for split in sorted(self.documents):
            digest.update(f"{split} {len(self.documents[split])}\n".encode())
            for text in self.documents[split]:
                digest.update(_text_digest(text))
        return digest.hexdigest()


def load_corpus(
    name: str = "wikipedia",
    files: Sequence[str | Path] = (),
    cache: Path | None = None,
    announce: Announce = silent,
) -> Corpus:
    """Load a corpus by name.

    Args:
        name: ``wikipedia`` or ``news`` (embedded), ``files`` (your own text), ``wikitext2``,
            ``c4`` or ``ptb`` (hub).
        files: text files or folders, for ``files``.
        cache: the cache folder, by default `cache_directory()`.
        announce: takes one line for each slow step.

    Returns:
        The corpus in four splits, each with at least one document.

    Raises:
        UserError: unknown name, unreadable files, no hub, fewer than four documents.
    """
    if name not in CORPORA:
        raise UserError(f"unknown corpus '{name}': {suggest(name, CORPORA)}")
    if files and name != "files":
        raise UserError(f"corpus.files is given, but corpus={name} does not read it: corpus=files")
    cache = cache or cache_directory()
    groups: Groups
    if name == "wikipedia":
        groups = {"all": wikipedia_documents(cache, announce)}
    elif name == "news":
        groups = {"all": news_documents(cache, announce)}
    elif name == "files":
        groups = {"all": file_documents(files)}
    else:
        groups = hub_documents(name, cache, announce)
    return build_corpus(name, groups, _RECIPES.get(name, _WHOLE))


def build_corpus(
    name: str, groups: Groups, recipe: Mapping[str, tuple[str, ...]] = _WHOLE
) -> Corpus:
    """Put groups of documents into splits.

    Args:
        name: name of the corpus.
        groups: documents by part of the source.
        recipe: for each part the splits it is dealt to; a part with one split keeps its order.

    Raises:
        UserError: a split would be empty.
    """
    hands: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for part, splits in recipe.items():
        texts = [document.text for document in groups[part] if document.text not in taken]
        hands |= {splits[0]: tuple(texts)} if len(splits) == 1 else deal(texts, splits)
        taken.update(texts)
    if any(not hands[split] for split in SPLITS):
        count = sum(len(texts) for texts in hands.values())
        raise UserError(
            f"corpus={name} has too few different documents ({count}) for its four splits: "
            "add more text (a single file is cut at blank lines, about every 2,000 characters)"
        )
    return Corpus(name, {split: hands[split] for split in SPLITS})


def deal(texts: Iterable[str], splits: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Deal texts to splits so that shares of characters come close to `SHARES`.

    Args:
        texts: any texts; blank ones and repetitions are dropped.
        splits: some of `SPLITS`, whose shares are scaled to sum to one.

    Returns:
        Texts of each split. The result does not depend on the order of `texts`, and no split is
        empty when there are at least as many different texts as splits.
    """
    deck = sorted({text for text in texts if text.strip()}, key=_text_digest)
    scale = sum(map(len, deck)) / sum(SHARES[split] for split in splits)
    lacking = {split: SHARES[split] * scale for split in splits}
    hands: dict[str, list[str]] = {split: [] for split in splits}
    for position, text in enumerate(deck):
        empty = [split for split in splits if not hands[split]]
        # The last texts go to splits that have none yet, however large the others' needs are.
        candidates = empty if len(deck) - position <= len(empty) else splits
        split = max(candidates, key=lambda name: lacking[name])
        hands[split].append(text)
        lacking[split] -= len(text)
    return {split: tuple(hand) for split, hand in hands.items()}


def _text_digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
