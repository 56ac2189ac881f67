"""The embedded Wikipedia dump: bzip2 XML with wiki markup, to plain articles.

The dump is streamed and stripped once; the result is cached as JSON under a key of the dump, this
parser's version and mwparserfromhell's, because the fingerprint of the corpus depends on them.
"""

from __future__ import annotations

import bz2
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pruner_zero.assets import ASSETS, Announce, fetch_asset, silent
from pruner_zero.data.documents import Document
from pruner_zero.errors import UserError

PARSER_VERSION = 1  # raise it when the text that comes out changes

_ARTICLE_NAMESPACE = "0"
_DROPPED_TAGS = {"ref", "references", "gallery", "math", "table", "timeline", "score", "imagemap"}
_DROPPED_LINKS = ("file:", "image:", "media:", "category:")
# Lists of books and links: no prose, and most of their text went with the templates.
_DROPPED_SECTIONS = {
    *("references", "external links", "see also", "further reading", "bibliography", "notes"),
    *("sources", "citations", "footnotes", "notes and references", "references and notes"),
    *("gallery", "works cited", "endnotes", "discography", "filmography"),
}
_TIDY = (
    (re.compile(r"<!--.*?-->|\{\||\|\}|__[A-Z]{3,}__", re.DOTALL), ""),
    (re.compile(r"^[ \t]*[|!].*$", re.MULTILINE), ""),  # rows of tables that were left open
    (re.compile(r"^[ \t]*(?:thumb|left|right|upright[\d.=]*)\|.*$", re.MULTILINE), ""),  # captions
    (re.compile(r"[(\[][\s,;:–-]*[)\]]"), ""),  # brackets whose templates are gone
    (re.compile(r"\(\s*[;,]\s*"), "("),
    (re.compile(r"[ \t\u00a0]+"), " "),
    (re.compile(r" +([,.;:)])"), r"\1"),
    (re.compile(r"^[ \t]*[*#:;]+[ \t]*$", re.MULTILINE), ""),  # list items that are empty now
    (re.compile(r" *\n *"), "\n"),
    (re.compile(r"\n{3,}"), "\n\n"),
)


def wikipedia_documents(cache: Path, announce: Announce = silent) -> list[Document]:
    """Return the articles of the embedded Wikipedia dump.

    Args:
        cache: the cache folder.
        announce: takes one line for each slow step.

    Returns:
        One document per article, in the dump's order.

    Raises:
        UserError: the dump cannot be fetched or the cache cannot be written.
    """
    import mwparserfromhell

    dump = ASSETS["wikipedia"].sha256[:12]
    version = f"{PARSER_VERSION}-{mwparserfromhell.__version__}-{dump}"
    stored = cache / "texts" / f"wikipedia-{version}.json"
    try:
        pairs = json.loads(stored.read_text(encoding="utf-8"))
        return [Document(title, text) for title, text in pairs]
    except (OSError, ValueError, TypeError):
        pass  # not parsed yet, or a damaged file: parse (again)
    source = fetch_asset("wikipedia", cache, announce)
    announce("Stripping the markup of the Wikipedia articles (once, about 20 s)")
    documents = list(parse_dump(source))
    try:
        stored.parent.mkdir(parents=True, exist_ok=True)
        draft = stored.with_name(f"{stored.name}.{os.getpid()}")
        draft.write_text(json.dumps([[d.title, d.text] for d in documents]), encoding="utf-8")
        draft.replace(stored)
    except OSError as error:
        raise UserError(
            f"cannot write the cache folder {stored.parent} ({error.strerror or error}): "
            "set PRUNER_ZERO_CACHE to a folder with room"
        ) from error
    return documents


def parse_dump(path: Path) -> Iterator[Document]:
    """Stream the articles of a bzip2 MediaWiki export.

    Args:
        path: the ``.bz2`` file.

    Yields:
        Each article with text left after stripping; redirects and other namespaces are skipped.
    """
    with bz2.open(path) as stream:
        for _, element in ElementTree.iterparse(stream):
            if _local_name(element) != "page":
                continue
            fields = {_local_name(child): child for child in element.iter()}
            namespace = fields["ns"].text if "ns" in fields else _ARTICLE_NAMESPACE
            markup = (fields["text"].text if "text" in fields else None) or ""
            if namespace == _ARTICLE_NAMESPACE and "redirect" not in fields:
                text = plain_text(markup)
                if text:
                    yield Document(fields["title"].text or "", text)
            element.clear()  # the tree of the whole dump would take a hundred times its text


def plain_text(markup: str) -> str:
    """Return the prose of one page of wiki markup.

    Args:
        markup: MediaWiki source.

    Returns:
        Paragraphs and headings separated by newlines: without templates, tables, references,
        pictures and their captions, categories, and the lists of sources at the end.
    """
    import mwparserfromhell
    from mwparserfromhell.nodes import Heading, Tag, Template, Text, Wikilink

    code = mwparserfromhell.parse(markup)
    kept: list[Any] = []
    skipping_level = 0  # level of the heading whose section is being left out, 0 = none
    for node in code.nodes:
        if isinstance(node, Heading):
            title = node.title.strip_code().strip().lower()
            if not skipping_level or node.level <= skipping_level:
                skipping_level = node.level if title in _DROPPED_SECTIONS else 0
        if not skipping_level:
            kept.append(node)
    code.nodes = kept
    for node in code.ifilter(recursive=True, forcetype=(Tag, Wikilink, Template)):
        if isinstance(node, Tag):
            replacement: str | None = "" if str(node.tag).lower() in _DROPPED_TAGS else None
        elif isinstance(node, Wikilink):
            title = str(node.title).strip().lower().lstrip(":")
            replacement = "" if title.startswith(_DROPPED_LINKS) else None
        else:
            replacement = _template_text(node)
        if replacement is not None:
            # A node inside one that was already replaced is no longer part of the page.
            if code.contains(node):
                code.replace(node, Text(replacement))
    text = code.strip_code(normalize=True, collapse=True)
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text.strip()


def _template_text(template: Any) -> str | None:
    """Text of the few templates that carry words of the sentence; None leaves it to strip_code."""
    name = str(template.name).strip().lower()
    values = [str(p.value).strip() for p in template.params if not p.showkey]
    if name in {"convert", "cvt"} and len(values) >= 2:
        return f"{values[0]} {values[1]}"
    if name == "lang" and len(values) >= 2:
        return values[1]
    if name in {"nowrap", "transl", "angbr", "quote", "blockquote", "cquote"} and values:
        return values[-1] if name == "transl" else values[0]
    return None


def _local_name(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
