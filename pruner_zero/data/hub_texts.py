"""The field's usual data sets from the hub, as groups of documents.

The held-out parts keep their published order and joints, so that the text of a ``test`` split is
character for character what the published perplexities were measured on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pruner_zero.assets import Announce, silent
from pruner_zero.data.documents import Document
from pruner_zero.data.store import Groups, stored_documents
from pruner_zero.errors import UserError
from pruner_zero.hub import first_line, hub_reachable, offline_asked, quiet_libraries

HUB_VERSION = 1  # raise it when the documents made from a data set change
C4_TRAIN_DOCUMENTS = 4000  # about 2 M tokens, of the first of 1,024 files
C4_VALIDATION_DOCUMENTS = 3000
PTB_SENTENCES = 50  # one training document; the set has lost its article boundaries

_ARTICLE = re.compile(r"^ = [^=].*[^=] = \n?$")
_OTHER_TEXT = "take corpus=wikipedia or your own text with corpus=files corpus.files=[my.txt]"


def hub_documents(name: str, cache: Path, announce: Announce = silent) -> Groups:
    """Return the documents of a hub data set by its own parts.

    Args:
        name: ``wikitext2``, ``c4`` (streamed, a bounded number of documents) or ``ptb``.
        cache: the cache folder; a set that was loaded once needs no hub any more.
        announce: takes one line before a download.

    Returns:
        Documents of the parts ``train``, ``validation`` and, except for c4, ``test``.

    Raises:
        UserError: the hub cannot be reached or does not give the data set.
    """
    import datasets

    def make() -> Groups:
        # Asked to stay offline, datasets looks into its own cache and fails at once otherwise.
        if not offline_asked() and not hub_reachable():
            raise UserError(f"corpus={name} needs the hub, which cannot be reached: {_OTHER_TEXT}")
        announce(f"Loading {name} from the hub")
        try:
            with quiet_libraries():
                return _LOADERS[name](datasets.load_dataset)
        except Exception as error:  # the libraries raise dozens of kinds for "not available"
            offline = " while HF_HUB_OFFLINE is set" if offline_asked() else ""
            raise UserError(
                f"corpus={name} cannot be loaded from the hub{offline} "
                f"({first_line(error)}): {_OTHER_TEXT}"
            ) from error

    return stored_documents(cache / "texts" / f"{name}-{HUB_VERSION}.json", make)


def wikitext_articles(lines: Sequence[str]) -> list[Document]:
    """Group the lines of WikiText into articles.

    Args:
        lines: the rows of the data set.

    Returns:
        Documents whose texts, joined by blank lines, equal the lines joined by blank lines,
        which is the text of published WikiText-2 perplexities.
    """
    starts = [i for i, line in enumerate(lines) if _ARTICLE.match(line)]
    bounds = [0, *starts[1:], len(lines)]
    return [
        Document(lines[starts[n]].strip(" =\n") if starts else "", "\n\n".join(lines[a:b]))
        for n, (a, b) in enumerate(itertools.pairwise(bounds))
    ]


def _load_wikitext2(load: Callable[..., Any]) -> Groups:
    parts = {p: load("Salesforce/wikitext", "wikitext-2-raw-v1", split=p) for p in _PARTS}
    return {part: wikitext_articles(list(rows["text"])) for part, rows in parts.items()}


def _load_ptb(load: Callable[..., Any]) -> Groups:
    # The set itself is a loading script, which datasets no longer runs; the hub keeps its tables.
    tables = "hf://datasets/ptb-text-only/ptb_text_only@refs/convert/parquet/penn_treebank"
    files = {part: f"{tables}/{part}/0000.parquet" for part in _PARTS}
    parts = {
        part: list(load("parquet", data_files=files, split=part)["sentence"]) for part in _PARTS
    }
    train = parts["train"]
    pieces = (train[i : i + PTB_SENTENCES] for i in range(0, len(train), PTB_SENTENCES))
    return {
        "train": [Document(f"ptb {n}", " ".join(piece)) for n, piece in enumerate(pieces, 1)],
        "validation": [Document("ptb validation", " ".join(parts["validation"]))],
        "test": [Document("ptb test", " ".join(parts["test"]))],
    }


def _load_c4(load: Callable[..., Any]) -> Groups:
    def stream(part: str, file: str, count: int) -> list[Document]:
        rows: Iterable[dict[str, str]] = load(
            "allenai/c4", data_files={part: file}, split=part, streaming=True
        )
        return [Document(row["url"], row["text"]) for row in itertools.islice(rows, count)]

    return {
        "train": stream("train", "en/c4-train.00000-of-01024.json.gz", C4_TRAIN_DOCUMENTS),
        "validation": stream(
            "validation", "en/c4-validation.00000-of-00008.json.gz", C4_VALIDATION_DOCUMENTS
        ),
    }


_PARTS = ("train", "validation", "test")
_LOADERS: dict[str, Callable[[Callable[..., Any]], Groups]] = {
    "wikitext2": _load_wikitext2,
    "c4": _load_c4,
    "ptb": _load_ptb,
}
HUB_NAMES = tuple(_LOADERS)
